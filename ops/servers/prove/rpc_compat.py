"""The conformance tests of ethereum/execution-apis against `/rpc/{chain}`: geth imports the chain that they were made on;
Headwater follows it, then a backfill fills another folder, which answers beside geth and without it. Compared as hive's
rpc-compat does (JSON equality, messages of errors left out), and error codes too.

usage: rpc_compat.py SUITE GETH WORKDIR
  SUITE   a checkout of ethereum/execution-apis, or its folder `tests`: chain.rlp, genesis.json, headfcu.json, METHOD/*.io
  GETH    go-ethereum's binary
"""
import atexit
import base64
import collections
import hashlib
import hmac
import json
import pathlib
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request

from appliance import PROGRAM, Appliance, free_port, rpc, until

# What the other methods of the suite ask for needs state, which is not kept, or changes it.
SERVED = """eth_getBlockByNumber eth_getBlockByHash eth_getBlockReceipts eth_getTransactionByHash eth_getTransactionReceipt
eth_getTransactionByBlockHashAndIndex eth_getTransactionByBlockNumberAndIndex eth_getLogs eth_getBlockTransactionCountByHash
eth_getBlockTransactionCountByNumber eth_getUncleCountByBlockHash eth_getUncleCountByBlockNumber eth_chainId eth_blockNumber
eth_syncing net_version web3_clientVersion""".split()


def suite_files(suite):
    """The folder with the chain, and the tests: name to its lines."""
    suite = pathlib.Path(suite).resolve()
    chain = next((path.parent for path in sorted(suite.rglob("chain.rlp"))), None)
    assert chain, f"no chain.rlp below {suite}: give a checkout of ethereum/execution-apis"
    files = sorted(path for method in SERVED for path in suite.rglob(f"{method}/*.io"))
    assert files, f"no tests of the methods that are answered here below {suite}"
    return chain, {f"{path.parent.name}/{path.name}": path.read_text().splitlines() for path in files}


def post(url, body, headers=()):
    request = urllib.request.Request(url, body, {"content-type": "application/json", **dict(headers)})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def start_geth(geth, chain, folder):
    """geth with the suite's chain, its head set over the engine API as a consensus client would; URL and process."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = ["--datadir", folder / "data", "--state.scheme", "hash"]
    for command in (["init", *data, chain / "genesis.json"], ["import", *data, "--gcmode", "archive", chain / "chain.rlp"]):
        done = subprocess.run([geth, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"geth {command[0]}: {done.stdout[-2000:]}"
    secret, port, engine = secrets.token_bytes(32), free_port(), free_port()
    (folder / "jwt").write_text(secret.hex())
    network = json.loads((chain / "genesis.json").read_text())["config"]["chainId"]
    node = subprocess.Popen(
        [geth, *data, "--gcmode", "archive", "--networkid", str(network), "--nodiscover", "--maxpeers", "0", "--ipcdisable",
         "--cache", "64", "--http", "--http.port", str(port), "--http.api", "eth,net,web3", "--authrpc.port", str(engine),
         "--authrpc.jwtsecret", folder / "jwt"],
        stdout=open(folder / "geth.log", "wb"), stderr=subprocess.STDOUT)
    atexit.register(node.kill)
    url = f"http://127.0.0.1:{port}"

    def answers():
        assert node.poll() is None, f"geth ended: see {folder}/geth.log"
        try:
            return rpc(url, "eth_chainId")
        except OSError:
            return None

    until("geth", answers)
    plain = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=")
    token = plain(b'{"alg":"HS256","typ":"JWT"}') + b"." + plain(json.dumps({"iat": int(time.time())}).encode())
    token += b"." + plain(hmac.new(secret, token, hashlib.sha256).digest())
    told = post(f"http://127.0.0.1:{engine}", (chain / "headfcu.json").read_bytes(), {"authorization": f"Bearer {token.decode()}"})
    assert told["result"]["payloadStatus"]["status"] == "VALID", told
    return url, node


def bare(answer):
    """An answer without the message of its error."""
    return answer | {"error": {"code": answer["error"].get("code")}} if "error" in answer else answer


def differences(url, tests):
    """What is answered otherwise than the suite says: name, request, both answers."""
    found = []
    for name, lines in tests.items():
        for line in lines:
            if line.startswith(">> "):
                request, answer = line[3:], post(url, line[3:].encode())
            elif line.startswith("<< ") and bare(answer) != bare(json.loads(line[3:])):
                found.append((name, request, line[3:], answer))
    return found


def check(what, url, tests):
    wrong = differences(url, tests)
    for name, request, expected, answer in wrong:
        print(f"{name}: {request[:300]}\n  expected {expected[:300]}\n  answered {json.dumps(answer)[:300]}")
    methods = collections.Counter(name.split("/")[0] for name in tests)
    assert not wrong, f"{what}: {len(wrong)} of {len(tests)} tests differ"
    print(f"{what}: {len(tests)} tests of {len(methods)} methods pass")


def has_all(appliance, head):
    def ready():
        view = appliance.chain()
        return view and view["head"] and view["finalized"] and view["head"]["number"] == view["finalized"]["number"] == head \
            and view["indexed_lsn"] == view["durable_lsn"]

    until("the chain", ready)


chain, tests = suite_files(sys.argv[1])
folder = pathlib.Path(sys.argv[3])
node_url, node = start_geth(sys.argv[2], chain, folder / "geth")
head = int(rpc(node_url, "eth_blockNumber"), 16)
check("geth", node_url, tests)


def start(data, *arguments):
    return Appliance(data, "--rpc", node_url, "--name", "suite", "--data-dir", data / "data", "--listen", "127.0.0.1:0", *arguments)


for name in ("followed", "filled"):
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).mkdir()
appliance = start(folder / "followed", "--start", "0")
has_all(appliance, head)
check("followed", f"{appliance.url}/rpc/suite", tests)
appliance.terminate()

filled = folder / "filled"
subprocess.run([PROGRAM, "backfill", f"0:{head + 1}", "--rpc", node_url, "--name", "suite", "--data-dir", filled / "data"], check=True)
appliance = start(filled)
has_all(appliance, head)
check("backfilled, geth at the same block", f"{appliance.url}/rpc/suite", tests)
node.kill()
node.wait()
check("backfilled, geth away", f"{appliance.url}/rpc/suite", tests)
appliance.terminate()
