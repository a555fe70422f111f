"""`/rpc/{chain}` as foreign clients see it: raw calls against the node's own answers, web3.py over HTTP and WebSocket,
and Foundry's cast. For proofs that have a real node."""
import asyncio
import json
import os
import pathlib
import random
import subprocess

from web3 import AsyncWeb3, Web3, WebSocketProvider

from appliance import rpc

CAST = "@foundry-rs/cast-linux-amd64@1.7.1"


def same(ours, theirs, method, *params):
    expected = rpc(theirs, method, *params)
    assert rpc(ours, method, *params) == expected, f"{method} {params} differs from the node's answer"
    return expected


def blocks(ours, theirs, head):
    """Every method about a block or a transaction; how many calls."""
    calls = 0
    for number in range(head + 1):
        at = hex(number)
        block = same(ours, theirs, "eth_getBlockByNumber", at, True)
        same(ours, theirs, "eth_getBlockByHash", block["hash"], False)
        same(ours, theirs, "eth_getBlockReceipts", at)
        same(ours, theirs, "eth_getBlockTransactionCountByNumber", at)
        same(ours, theirs, "eth_getBlockTransactionCountByHash", block["hash"])
        same(ours, theirs, "eth_getUncleCountByBlockNumber", at)
        for place, transaction in enumerate(block["transactions"]):
            same(ours, theirs, "eth_getTransactionByHash", transaction["hash"])
            same(ours, theirs, "eth_getTransactionByBlockNumberAndIndex", at, hex(place))
            same(ours, theirs, "eth_getTransactionByBlockHashAndIndex", block["hash"], hex(place))
            same(ours, theirs, "eth_getTransactionReceipt", transaction["hash"])
        calls += 6 + 4 * len(block["transactions"])
    return calls


def logs(ours, theirs, head):
    """Filters made of what there is, answered by the node's own index; how many logs they gave."""
    everything = same(ours, theirs, "eth_getLogs", {"fromBlock": "0x0", "toBlock": hex(head)})
    dice, found = random.Random(1), 0
    for _ in range(40):
        one, other = dice.choice(everything), dice.choice(everything)
        first = dice.randrange(head)
        span = {"fromBlock": hex(first), "toBlock": hex(dice.randrange(first, head + 1))}
        topics = [dice.choice([None, topic, [topic, dice.choice(other["topics"] or [topic])]]) for topic in one["topics"]]
        wish = dice.choice([span, {"blockHash": one["blockHash"]}])
        wish |= dice.choice([{}, {"address": one["address"]}, {"address": [one["address"], other["address"]]}])
        wish |= dice.choice([{}, {"topics": topics}])
        found += len(same(ours, theirs, "eth_getLogs", wish))
    assert everything and found, "no logs"
    return len(everything), found


def with_web3(ours, theirs, head):
    """The same objects by web3.py, which reads every field."""
    one, other = Web3(Web3.HTTPProvider(ours)), Web3(Web3.HTTPProvider(theirs))
    assert one.is_connected() and one.eth.chain_id == other.eth.chain_id
    assert one.eth.block_number >= head
    for number in range(max(0, head - 20), head + 1):
        block = one.eth.get_block(number, full_transactions=True)
        assert block == other.eth.get_block(number, full_transactions=True)
        for transaction in block["transactions"]:
            receipt = one.eth.get_transaction_receipt(transaction["hash"])
            assert receipt == other.eth.get_transaction_receipt(transaction["hash"])
    try:
        one.eth.get_balance("0x" + "00" * 20)
        raise SystemExit("FAILED: a balance out of nothing")
    except Exception as error:
        assert "Headwater keeps no state" in str(error), error


async def listen(ours, theirs, heads):
    """New heads over WebSocket by web3.py are blocks of the node."""
    async with AsyncWeb3(WebSocketProvider(ours.replace("http://", "ws://"))) as web3:
        await web3.eth.subscribe("newHeads")
        seen = []
        async for told in web3.socket.process_subscriptions():
            seen.append(told["result"])
            if len(seen) == heads:
                break
    for head in seen:
        block = rpc(theirs, "eth_getBlockByNumber", hex(head["number"]), False)
        assert block["hash"] == "0x" + bytes(head["hash"]).hex(), f"head {head['number']} is another"
    return [head["number"] for head in seen]


def with_cast(ours, theirs, head, folder):
    """Foundry's command line, which parses strictly, gives the same for both."""
    cast = pathlib.Path(folder) / "node_modules/@foundry-rs/cast-linux-amd64/bin/cast"
    if not cast.exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", CAST]
        subprocess.run(command, check=True, cwd=folder)
    cast.chmod(0o755)

    def ask(url, *arguments):
        command = [cast, *arguments, "--rpc-url", url]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"}).stdout

    count = 0
    busy = next(n for n in range(head, -1, -1) if rpc(theirs, "eth_getBlockByNumber", hex(n), False)["transactions"])
    hash = rpc(theirs, "eth_getBlockByNumber", hex(busy), False)["transactions"][0]
    for arguments in [("chain-id",), ("block", str(busy), "--json"), ("block", str(busy), "--full", "--json"), ("tx", hash, "--json"),
                      ("receipt", hash, "--json"), ("age", str(busy)), ("logs", "--from-block", "0", "--to-block", str(head), "--json"),
                      ("find-block", str(int(rpc(theirs, "eth_getBlockByNumber", hex(busy), False)["timestamp"], 16)))]:
        of_ours, of_theirs = ask(ours, *arguments), ask(theirs, *arguments)
        if "--json" in arguments:
            of_ours, of_theirs = json.loads(of_ours), json.loads(of_theirs)
        assert of_ours == of_theirs, f"cast {arguments}: {of_ours} is not {of_theirs}"
        count += 1
    return count


def check(ours, theirs, head, folder):
    calls = blocks(ours, theirs, head)
    everything, filtered = logs(ours, theirs, head)
    with_web3(ours, theirs, head)
    commands = with_cast(ours, theirs, head, folder)
    told = asyncio.run(asyncio.wait_for(listen(ours, theirs, 5), 60))
    print(f"as a node: {calls} calls, {everything} logs and {filtered} by 40 filters equal the node's answers; "
          f"{commands} commands of cast; web3.py was told of {told}")
