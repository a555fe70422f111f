"""Against a real node: transactions sent by a foreign client appear in SQL; the node is killed and comes back (geth
some blocks lower: a true reorg), the appliance too; then the chain in SQL equals the node's, object by object. Then the appliance
is the node: foreign clients ask it, and a second appliance has nobody else to ask.

usage: EVM_CLIENT=geth|anvil evm.py WORKDIR    (WORKDIR is that of ../evm/server.sh)
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import facade
from appliance import Appliance, free_port, rpc, until

client = os.environ.get("EVM_CLIENT", "anvil")
servers = pathlib.Path(__file__).resolve().parents[1]
os.environ["EVM_PORT"], os.environ["EVM_WS_PORT"] = str(free_port()), str(free_port())
url = f"http://127.0.0.1:{os.environ['EVM_PORT']}"


def node(action, *arguments):
    command = ["bash", servers / "evm/server.sh", action, sys.argv[1], *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def is_level(appliance):
    """Whether the captured head is the node's."""
    latest = rpc(url, "eth_getBlockByNumber", "latest", False)
    return appliance.head() == (int(latest["number"], 16), latest["hash"])


def compare(appliance):
    """Every block, transaction and receipt of the API against what the node answers."""
    until("the head", lambda: is_level(appliance))
    until("the history", lambda: not appliance.chain()["gaps"])
    chain = appliance.hashes()
    head = max(chain)
    assert set(chain) == set(range(head + 1)), "a number is missing"
    transactions = 0
    for number in range(head + 1):
        theirs = rpc(url, "eth_getBlockByNumber", hex(number), True)
        receipts = rpc(url, "eth_getBlockReceipts", hex(number))
        status, ours = appliance.get(f"/v1/chains/{name}/blocks/{number}?receipts=true")
        assert status == 200 and chain[number] == theirs["hash"], f"block {number}"
        assert ours["block"] == theirs, f"block {number} differs from the node's"
        assert ours["receipts"] == receipts, f"the receipts of block {number} differ from the node's"
        transactions += len(theirs["transactions"])
    counted = appliance.sql("select count(*) as n from transactions")[0]["n"]
    assert counted == transactions, f"{counted} transactions in SQL, {transactions} at the node"
    return head, transactions


def calls(frame, at, path=()):
    """The nested calls of a transaction as go-ethereum traces it alone, one after the other."""
    yield [at, list(path), frame["from"], frame.get("to"), int(frame["value"], 16) if "value" in frame else None, frame["input"],
           frame.get("output"), "error" in frame]
    for place, inner in enumerate(frame.get("calls", [])):
        yield from calls(inner, at, (*path, place))


def flat(trace):
    """A trace of anvil's `trace_transaction`."""
    action, result = trace["action"], trace.get("result") or {}
    to = action.get("to", result.get("address"))
    return [trace["transactionPosition"], trace["traceAddress"], action["from"], to, int(action["value"], 16),
            action.get("input", action.get("init")), result.get("output", result.get("code")), "error" in trace]


def compare_traces(appliance, head):
    """Every trace in SQL against what the node says of each transaction alone."""
    rows = {}
    for row in appliance.sql("select block_number, transaction_index, trace_address, from_address, to_address, uint256_text(value) as wei, "
                             "input, output, error, transaction_hash from traces order by block_number, trace_index"):
        rows.setdefault(row["block_number"], []).append(row)
    count = 0
    for number in range(head + 1):
        expected = []
        for at, hash in enumerate(rpc(url, "eth_getBlockByNumber", hex(number), False)["transactions"]):
            if client == "geth":
                expected += calls(rpc(url, "debug_traceTransaction", hash, {"tracer": "callTracer"}), at)
            else:
                expected += [flat(trace) for trace in rpc(url, "trace_transaction", hash)]
        ours = [[row["transaction_index"], row["trace_address"], row["from_address"], row["to_address"],
                 None if row["wei"] is None else int(row["wei"]), row["input"], row["output"], row["error"] is not None]
                for row in rows.get(number, [])]
        assert ours == expected, f"traces of block {number}: {ours} are not {expected}"
        count += len(ours)
    unproved = appliance.sql("select count(*) as n from verification v join blocks b on b.block_hash = v.block_hash "
                             "where b.transaction_count > 0 and v.verified not like '%traces%'")[0]["n"]
    assert unproved == 0, f"{unproved} blocks without the mark"
    nested = appliance.sql("select count(*) as n from traces where cardinality(trace_address) > 0")[0]["n"]
    print(f"{client}: {count} traces ({nested} of calls within calls) equal what the node says of each transaction")
    assert nested > 0


def calm():
    """geth calls every 32nd block final at once, and forgets some when it is killed: not that one, please."""
    until("a calm moment", lambda: appliance.head() and 9 <= appliance.head()[0] % 32 <= 26)


folder = pathlib.Path(tempfile.mkdtemp(prefix=f"headwater-{client}-"))
node("stop")
shutil.rmtree(pathlib.Path(sys.argv[1]) / "geth", ignore_errors=True)
(pathlib.Path(sys.argv[1]) / "anvil.json").unlink(missing_ok=True)
node("start")
name = {"geth": "devnet", "anvil": "anvil"}[client]
# anvil speaks WebSocket on its one port.
ws_port = os.environ["EVM_WS_PORT"] if client == "geth" else os.environ["EVM_PORT"]
ws = f"ws://127.0.0.1:{ws_port}"
arguments = ["--rpc", url, "--ws", ws, "--traces", "--start", "0", "--listen", "127.0.0.1:0", "--data-dir", folder / "data"]
appliance = Appliance(folder, *arguments)
until("an announcer", lambda: (appliance.chain() or {}).get("capture", {}).get("announced_by"))
# anvil 1.7.1 hashes blobs into the transactions root, which no chain does (foundry issue 15132): we refuse such a block.
blobs = {"geth": "1", "anvil": "0"}[client]
sent = json.loads(node("traffic", "--count", "40", "--blobs", blobs).splitlines()[-1])
print(f"{client}: sent {sent}")
head, transactions = compare(appliance)
kinds = {row["kind"]: row["n"] for row in appliance.sql("select kind, count(*) as n from transactions group by kind")}
types = {row["t"]: row["n"] for row in appliance.sql("select transaction_type as t, count(*) as n from transactions group by 1")}
print(f"{client}: {head + 1} blocks, {transactions} transactions equal the node's; kinds {kinds}, types {types}")
assert set(types) >= {0, 1, 2, 4} and set(kinds) == {"transfer", "call", "deployment"}

calm()
node("kill")
until("the problem", lambda: appliance.chain()["capture"]["problem"])
node("start")
sent = json.loads(node("traffic", "--count", "10", "--seed", "2", "--blobs", "0").splitlines()[-1])
head, transactions = compare(appliance)
reverted = appliance.sql("select count(*) as n from chain_events where op = 'reverted'")[0]["n"]
print(f"{client}: killed and back: {head + 1} blocks, {transactions} transactions equal the node's; {reverted} reverted")

# A reorg on request, and the appliance killed during it.
calm()
head = appliance.head()[0]
if client == "geth":
    rpc(url, "debug_setHead", hex(head - 3))
else:
    rpc(url, "anvil_reorg", 3, [])
appliance.kill()
appliance = Appliance(folder, *arguments)
until("blocks above", lambda: appliance.head() and appliance.head()[0] > head)
head, transactions = compare(appliance)
reverted = appliance.sql("select count(*) as n from chain_events where op = 'reverted'")[0]["n"]
print(f"{client}: a reorg on request: {head + 1} blocks, {transactions} transactions equal the node's; {reverted} reverted")
assert reverted > 0, "no reorg was seen"
compare_traces(appliance, head)
facade.check(f"{appliance.url}/rpc/{name}", url, head, sys.argv[1])

# Another one that asks the first alone, and nothing of the node.
second = pathlib.Path(tempfile.mkdtemp(prefix="headwater-fleet-"))
upstream = f"{appliance.url}/rpc/{name}"
fleet = Appliance(second, "--rpc", upstream, "--ws", upstream.replace("http", "ws", 1), "--traces", "--start", "0",
                  "--listen", "127.0.0.1:0", "--data-dir", second / "data")
until("the fleet's history", lambda: fleet.head() and fleet.head()[0] >= head and not fleet.chain()["gaps"])
if client == "geth":
    calm()
    rpc(url, "debug_setHead", hex(fleet.head()[0] - 2))
else:
    rpc(url, "anvil_reorg", 2, [])
head, transactions = compare(fleet)
reverted = fleet.sql("select count(*) as n from chain_events where op = 'reverted'")[0]["n"]
compare_traces(fleet, head)
print(f"{client}: a second one behind the first: {head + 1} blocks, {transactions} transactions equal the node's; {reverted} reverted")
assert reverted > 0, "no reorg came through"
fleet.terminate()
appliance.terminate()
node("stop")
print(f"OK: {client}")
