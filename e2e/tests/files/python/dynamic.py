"""The dynamic client: kinds found by discovery, Kapell's own among them, and server-side apply."""

from kubernetes import client, config, dynamic, utils
from kubernetes.dynamic.exceptions import ConflictError, ResourceNotFoundError

config.load_kube_config()
api = client.ApiClient()
dyn = dynamic.DynamicClient(api)

maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "red"}}
ours = {"name": "settings", "namespace": "default", "field_manager": "ours"}
assert maps.server_side_apply(body=body, **ours).data.colour == "red"
theirs = {**ours, "field_manager": "theirs"}
blue = {**body, "data": {"colour": "blue"}}
try:
    maps.server_side_apply(body=blue, **theirs)
    raise AssertionError("no conflict")
except ConflictError as error:
    assert ".data.colour" in str(error.body), error.body
assert maps.server_side_apply(body=blue, force_conflicts=True, **theirs).data.colour == "blue"

workflows = dyn.resources.get(api_version="kapell.dev/v1alpha1", kind="Workflow")
runs = dyn.resources.get(api_version="kapell.dev/v1alpha1", kind="WorkflowRun")
document = {"dsl": "1.0.0", "namespace": "default", "name": "double", "version": "1.0.0"}
spec = {"document": document, "do": [{"twice": {"set": {"result": "${ .number * 2 }"}}}]}
kind = {"apiVersion": "kapell.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "double"}}
workflows.create(body={**kind, "spec": spec}, namespace="default")
run = {**kind, "kind": "WorkflowRun", "metadata": {"name": "six"}, "spec": {"workflow": "double", "input": {"number": 3}}}
runs.create(body=run, namespace="default")
for event in runs.watch(namespace="default", name="six", timeout=30):
    status = event["object"].to_dict().get("status", {})
    if status.get("phase") == "Completed":
        assert status["output"] == {"result": 6}, status
        break
else:
    raise AssertionError("the run did not complete")

try:
    dyn.resources.get(api_version="example.com/v1", kind="Nothing")
    raise AssertionError("found a kind that is not there")
except ResourceNotFoundError:
    pass
utils.create_from_dict(api, {**body, "metadata": {"name": "from-dict"}}, namespace="default")
assert {item.metadata.name for item in maps.get(namespace="default").items} >= {"settings", "from-dict"}
