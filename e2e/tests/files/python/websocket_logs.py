"""The log of a pod over WebSocket: as bytes, and as text for browsers."""

import base64
import ssl
import time

from kubernetes import client, config
from websocket import WebSocketConnectionClosedException, create_connection

config.load_kube_config()
core = client.CoreV1Api()
known = client.Configuration.get_default_copy()
token = known.get_api_key_with_prefix("authorization") or known.get_api_key_with_prefix("BearerToken")

core.create_namespaced_pod(
    "default",
    {
        "metadata": {"name": "talks"},
        "spec": {
            "runtimeClassName": "process",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "command": ["sh", "-c", "echo container is alive; sleep 1000"]}],
        },
    },
)
limit = time.monotonic() + 60
while core.read_namespaced_pod_status("talks", "default").status.phase != "Running" or not core.read_namespaced_pod_log(
    "talks", "default"
):
    assert time.monotonic() < limit, "the pod says nothing"
    time.sleep(0.05)


def log(protocols):
    socket = create_connection(
        known.host.replace("https://", "wss://") + "/api/v1/namespaces/default/pods/talks/log?container=main",
        header={"Authorization": token},
        subprotocols=protocols,
        sslopt={"ca_certs": known.ssl_ca_cert, "cert_reqs": ssl.CERT_REQUIRED},
        timeout=60,
    )
    data = b""
    try:
        while message := socket.recv():
            data += message if isinstance(message, bytes) else message.encode()
    except WebSocketConnectionClosedException:
        pass
    return data


assert log(["binary.k8s.io"]) == b"container is alive\n"
assert base64.b64decode(log(["base64.binary.k8s.io"])) == b"container is alive\n"
