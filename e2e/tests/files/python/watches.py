"""Watches: from a list's version, resumed without a gap, ended by the time limit, told when the version is too old."""

from kubernetes import client, config, watch

config.load_kube_config()
core = client.CoreV1Api()


def write(name):
    return core.create_namespaced_config_map("default", {"metadata": {"name": name, "labels": {"seen": "yes"}}})


def seen(version, limit):
    follow, events = watch.Watch(), []
    stream = follow.stream(
        core.list_namespaced_config_map, "default", label_selector="seen", resource_version=version, timeout_seconds=30
    )
    for event in stream:
        events.append((event["type"], event["object"].metadata.name))
        if len(events) == limit:
            follow.stop()
    return events, follow.resource_version


start = core.list_namespaced_config_map("default").metadata.resource_version
for name in ("a", "b"):
    write(name)
events, version = seen(start, 1)
assert events == [("ADDED", "a")], events
core.patch_namespaced_config_map("a", "default", {"metadata": {"labels": {"seen": None}}})
core.delete_namespaced_config_map("b", "default")
events, _ = seen(version, 3)
# Losing the label is the end of the object for a watch that selects by it.
assert events == [("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")], events

follow = watch.Watch()
assert list(follow.stream(core.list_namespaced_config_map, "default", label_selector="seen", timeout_seconds=1)) == []
try:
    core.list_namespaced_config_map("default", resource_version="999999999", resource_version_match="Exact")
    raise AssertionError("a version of the future was listed")
except client.ApiException as error:
    assert error.status in (410, 504), error
