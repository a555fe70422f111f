"""The program under test, driven as a user would: its command line, its HTTP API."""
import atexit
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("HEADWATER", str(ROOT / "target/release/headwater"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, ask, seconds=120):
    """Asks until there is an answer that is true."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise SystemExit(f"FAILED: waited too long for {what}")
        time.sleep(0.1)


def rpc(url, method, *params):
    """One JSON-RPC call by the standard library."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        reply = json.load(answer)
    if "error" in reply:
        raise RuntimeError(f"{method}: {reply['error']}")
    return reply["result"]


def configure(folder, url, exporters, part_blocks=50):
    """Writes a configuration with one chain that is followed from its first block; its path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "headwater.toml"
    path.write_text(f"""data_dir = "{folder}/data"
[http]
listen = "127.0.0.1:0"
[[chain]]
name = "devnet"
chain_id = 1337
start = 0
poll_ms = 20
part_blocks = {part_blocks}
[[chain.provider]]
name = "devnet"
url = "{url}"
""" + exporters)
    return path


class Program:
    """A command of the program that keeps running."""

    def __init__(self, folder, name, *arguments):
        self.log = open(pathlib.Path(folder) / f"{name}.log", "ab")
        self.process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=self.log, stderr=self.log)
        atexit.register(self.process.kill)  # however the proof ends

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM; it must end well, and in time."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert code == 0, f"SIGTERM ended it with {code}"


class Appliance(Program):
    """`headwater run`, and its API."""

    def __init__(self, folder, *arguments):
        self.data = pathlib.Path(folder) / "data"
        address = self.data / "http.address"
        address.unlink(missing_ok=True)
        super().__init__(folder, "headwater", "run", *arguments)

        def announced():
            assert self.process.poll() is None, f"it ended: see {self.log.name}"
            return address.exists() and address.read_text().endswith("\n") and address.read_text().strip()

        self.url = "http://" + until("the address", announced)

    def get(self, path):
        """Status and JSON of a path."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def sql(self, statement, form="ndjson"):
        """The rows of a statement, or the bytes of another form."""
        request = urllib.request.Request(f"{self.url}/v1/sql?format={form}", statement.encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            body = answer.read()
        return [json.loads(line) for line in body.splitlines()] if form == "ndjson" else body

    def chain(self):
        """The first chain's view."""
        status, body = self.get("/v1/chains")
        return body["chains"][0] if status == 200 and body["chains"] else None

    def head(self):
        """Number and hash of the captured head."""
        view = self.chain()
        head = view and view["head"]
        return (head["number"], head["hash"]) if head else None

    def hashes(self):
        """The canonical chain in SQL: number to hash; no number may be there twice."""
        rows = self.sql("select block_number as n, to_hex0x(block_hash) as h from blocks order by 1")
        chain = {row["n"]: row["h"] for row in rows}
        assert len(chain) == len(rows), "a number is there twice"
        return chain
