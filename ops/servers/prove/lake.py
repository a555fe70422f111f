"""A lake on HDFS as a stranger sees it: by WebHDFS, which needs no client of ours, and by pyarrow."""
import collections
import io
import json
import os
import pathlib
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pyarrow.parquet as pq

servers = pathlib.Path(__file__).resolve().parents[1]
TABLES = ["blocks", "transactions", "logs", "withdrawals", "chain_events", "verification"]
NAME = re.compile(r"-(\d{12})-(\d{12})\.parquet$")


class Cluster:
    """A server's WORKDIR, driven by its script; `settings` are its HDFS_ variables."""

    def __init__(self, work, **settings):
        self.work, self.env = str(work), {**os.environ, **{f"HDFS_{key}": str(value) for key, value in settings.items()}}

    def __call__(self, action, *arguments, check=True):
        done = subprocess.run(["bash", servers / "hdfs/server.sh", action, self.work, *map(str, arguments)], env=self.env,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode != 0:
            raise SystemExit(f"FAILED: server.sh {action} {' '.join(map(str, arguments))}: {done.stdout} {done.stderr}")
        return done.stdout


def web(path, op, port=9870, **more):
    query = "&".join(["user.name=reader", *(f"{key}={value}" for key, value in more.items())])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/webhdfs/v1{path}?op={op}&{query}", timeout=20) as answer:
        return answer.read()


def entries(path):
    try:
        return json.loads(web(path, "LISTSTATUS"))["FileStatuses"]["FileStatus"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise


def visible(lake):
    """Every file that a reader of a table sees: path and length."""
    files = {}
    for table in TABLES:
        for chain in entries(f"{lake}/{table}"):
            for date in entries(f"{lake}/{table}/{chain['pathSuffix']}"):
                folder = f"{lake}/{table}/{chain['pathSuffix']}/{date['pathSuffix']}"
                for entry in entries(folder):
                    if entry["pathSuffix"][0] not in "._":
                        files[f"{folder}/{entry['pathSuffix']}"] = entry["length"]
    return files


class Watch(threading.Thread):
    """Reads the lake as a stranger would, again and again: what is there is whole, and is there once."""

    def __init__(self, lake):
        super().__init__(daemon=True)
        self.lake, self.read, self.looks, self.wrong, self.ended = lake, {}, 0, None, False

    def look(self):
        seen = collections.defaultdict(set)
        for path, length in visible(self.lake).items():
            table = path[len(self.lake) + 1:].split("/")[0]
            first, last = map(int, NAME.search(path).groups())
            numbers = set(range(first, last + 1))
            assert not seen[table] & numbers, f"{path}: blocks are there twice"
            seen[table] |= numbers
            if path not in self.read:
                body = web(path, "OPEN")
                assert len(body) == length, f"{path}: {len(body)} of {length} bytes"
                found = pq.read_table(io.BytesIO(body), columns=["block_number"]).column(0).to_pylist()
                assert set(found) <= numbers, f"{path}: other blocks"
                self.read[path] = length
            assert self.read[path] == length, f"{path} has changed"
        self.looks += 1

    def run(self):
        while not self.ended:
            try:
                self.look()
            except (OSError, urllib.error.HTTPError):
                pass  # the server is being killed
            except AssertionError as error:
                self.wrong = str(error)
                return
            time.sleep(0.2)


def state(appliance, name="lake"):
    return next(view for view in appliance.get("/v1/exporters")[1]["exporters"] if view["name"] == name)


def manifests(lake):
    """All runs that the newest manifest of each date names."""
    runs = []
    base = f"{lake}/_headwater/manifest/chain_id=1337"
    for date in entries(base):
        newest = max(entry["pathSuffix"] for entry in entries(f"{base}/{date['pathSuffix']}"))
        manifest = json.loads(web(f"{base}/{date['pathSuffix']}/{newest}", "OPEN"))
        if "begun" in manifest:
            return []
        runs += manifest["runs"]
    return sorted(runs, key=lambda run: run["blocks"]["first"])
