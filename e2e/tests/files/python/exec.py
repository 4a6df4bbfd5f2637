"""Commands in a pod: their output, their errors, how they end, and what they are told."""

from kubernetes import client, config
from kubernetes.stream import stream
from kubernetes.watch import Watch

config.load_kube_config()
api = client.CoreV1Api()

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "worker"},
    "spec": {
        "runtimeClassName": "process",
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "command": ["sleep", "1000"]}],
    },
}

api.create_namespaced_pod("default", POD)
watch = Watch()
for event in watch.stream(api.list_namespaced_pod, "default", timeout_seconds=60):
    if event["object"].status.phase == "Running":
        watch.stop()


def run(*command, **options):
    return stream(
        api.connect_get_namespaced_pod_exec,
        "worker",
        "default",
        command=list(command),
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
        **options,
    )


assert run("echo", "hello") == "hello\n"

ended = run("sh", "-c", "echo out; echo err >&2; exit 7", _preload_content=False)
ended.run_forever(timeout=60)
assert ended.read_stdout() == "out\n"
assert ended.read_stderr() == "err\n"
assert ended.returncode == 7, ended.returncode

talk = stream(
    api.connect_get_namespaced_pod_exec,
    "worker",
    "default",
    command=["sh", "-c", "read line; echo heard $line"],
    stdin=True,
    stdout=True,
    stderr=True,
    tty=False,
    _preload_content=False,
)
talk.write_stdin("this\n")
talk.run_forever(timeout=60)
assert talk.read_stdout() == "heard this\n"
assert talk.returncode == 0
