"""The same two workflows for DBOS, in process as it is meant to be; prints a line of JSON for each case."""

import json
import resource
import sys
import threading
import time
import urllib.request

from dbos import DBOS

step_url, directory, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
DBOS(config={"name": "nine", "system_database_url": f"sqlite:///{directory}/dbos.sqlite", "log_level": "ERROR"})


@DBOS.step()
def call() -> str:
    with urllib.request.urlopen(step_url) as answer:
        return answer.read().decode()


@DBOS.step()
def add(n: int) -> int:
    return n + 1


@DBOS.workflow()
def http() -> str:
    return [call() for _ in range(9)][-1]


@DBOS.workflow()
def pure() -> int:
    n = 0
    for _ in range(9):
        n = add(n)
    return n


def client(workflow, until, times):
    while time.monotonic() < until:
        begun = time.monotonic()
        workflow()
        times.append((time.monotonic() - begun) * 1e3)


def used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


DBOS.launch()
for name, workflow in [("http", http), ("pure", pure)]:
    for clients in [1, 64]:
        times, cpu, begun = [], used(), time.monotonic()
        threads = [threading.Thread(target=client, args=(workflow, begun + seconds, times)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, cpu = time.monotonic() - begun, used() - cpu
        times.sort()
        at = lambda share: times[int((len(times) - 1) * share)]
        memory = int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
        print(json.dumps({"case": name, "clients": clients, "runs": len(times) / took, "p50": at(0.5), "p99": at(0.99),
                          "cpu_us": cpu * 1e6 / len(times), "mb": memory}), flush=True)
DBOS.destroy()
