"""A watch over WebSocket: one message for each event, from a version on, ended by the time limit."""

import json
import ssl

from kubernetes import client, config
from websocket import WebSocketConnectionClosedException, create_connection

config.load_kube_config()
core = client.CoreV1Api()
known = client.Configuration.get_default_copy()
token = known.get_api_key_with_prefix("authorization") or known.get_api_key_with_prefix("BearerToken")


def connect(query):
    url = known.host.replace("https://", "wss://") + "/api/v1/namespaces/default/configmaps?watch=1&" + query
    return create_connection(
        url,
        header={"Authorization": token},
        sslopt={"ca_certs": known.ssl_ca_cert, "cert_reqs": ssl.CERT_REQUIRED},
        timeout=60,
    )


def event(socket):
    told = json.loads(socket.recv())
    return told["type"], told["object"]["metadata"]["name"]


start = core.list_namespaced_config_map("default").metadata.resource_version
socket = connect(f"resourceVersion={start}")
core.create_namespaced_config_map("default", {"metadata": {"name": "a"}})
assert event(socket) == ("ADDED", "a")
core.patch_namespaced_config_map("a", "default", {"data": {"colour": "blue"}})
assert event(socket) == ("MODIFIED", "a")
core.delete_namespaced_config_map("a", "default")
assert event(socket) == ("DELETED", "a")
socket.close()

socket = connect(f"resourceVersion={start}")
assert [event(socket) for _ in range(3)] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
socket.close()

socket = connect(f"resourceVersion={start}&timeoutSeconds=1")
try:
    while socket.recv():
        pass
except WebSocketConnectionClosedException:
    pass
