"""Typed objects: create, read, both kinds of patch, replace, list in pages, scale, delete, errors."""

from kubernetes import client, config

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()


def refused(status, call, *arguments):
    try:
        call(*arguments)
    except client.ApiException as error:
        assert error.status == status, error
        return error
    raise AssertionError(f"not refused with {status}")


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="py")))
settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings"), data={"colour": "red"})
made = core.create_namespaced_config_map("py", settings)
assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
assert made.metadata.managed_fields[0].manager == "OpenAPI-Generator"
refused(409, core.create_namespaced_config_map, "py", settings)
refused(400, core.create_namespaced_config_map, "py", made)
refused(404, core.read_namespaced_config_map, "nothing", "py")

core.patch_namespaced_config_map("settings", "py", {"data": {"colour": "blue", "size": "small"}})
core.patch_namespaced_config_map("settings", "py", [{"op": "remove", "path": "/data/size"}])
now = core.read_namespaced_config_map("settings", "py")
assert now.data == {"colour": "blue"}, now.data
made.data = {"colour": "green"}
assert "modified" in refused(409, core.replace_namespaced_config_map, "settings", "py", made).body
now.data = {"colour": "green"}
core.replace_namespaced_config_map("settings", "py", now)

core.create_namespaced_secret(
    "py", client.V1Secret(metadata=client.V1ObjectMeta(name="key"), string_data={"token": "b"})
)
assert core.read_namespaced_secret("key", "py").data == {"token": "Yg=="}

for number in range(5):
    core.create_namespaced_service_account("py", {"metadata": {"name": f"sa-{number}", "labels": {"a": "b"}}})
names, token = [], None
while True:
    page = core.list_namespaced_service_account("py", label_selector="a=b", limit=2, _continue=token)
    names += [item.metadata.name for item in page.items]
    token = page.metadata._continue
    if not token:
        break
assert names == [f"sa-{number}" for number in range(5)], names

labels = {"app": "sleeper"}
sleeper = client.V1Container(name="sleeper", command=["sleep", "1000"])
deployment = client.V1Deployment(
    metadata=client.V1ObjectMeta(name="sleeper"),
    spec=client.V1DeploymentSpec(
        replicas=1,
        selector=client.V1LabelSelector(match_labels=labels),
        template=client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels=labels),
            spec=client.V1PodSpec(
                runtime_class_name="process", containers=[sleeper], termination_grace_period_seconds=1
            ),
        ),
    ),
)
made = apps.create_namespaced_deployment("py", deployment)
assert made.status is not None and made.status.ready_replicas is None
assert made.spec.strategy.rolling_update.max_surge == "25%"
scale = apps.patch_namespaced_deployment_scale("sleeper", "py", {"spec": {"replicas": 3}})
assert scale.spec.replicas == 3
assert apps.read_namespaced_deployment("sleeper", "py").spec.replicas == 3
apps.delete_namespaced_deployment("sleeper", "py")
refused(404, apps.read_namespaced_deployment, "sleeper", "py")
core.delete_namespace("py")
assert client.VersionApi().get_code().major == "1"
