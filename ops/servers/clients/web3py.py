"""What web3.py asks of a node at start. usage: web3py.py RPC_URL DEVNET_URL"""
import sys
import time

from web3 import Web3

ours, devnet = (Web3(Web3.HTTPProvider(url)) for url in sys.argv[1:3])
assert ours.is_connected() and ours.is_connected(show_traceback=True)
eth = ours.eth
assert eth.chain_id == devnet.eth.chain_id and eth.accounts == [] and ours.net.listening and ours.net.peer_count == 0
assert not eth.syncing and "headwater" in ours.client_version
block = next(b for b in (eth.get_block(n, full_transactions=True) for n in range(eth.block_number, 0, -1)) if b.transactions)
for transaction in block.transactions:
    assert eth.get_transaction(transaction.hash) == transaction
    raw = eth.get_raw_transaction(transaction.hash)
    assert Web3.keccak(raw) == transaction.hash, "raw bytes have another hash"
    assert eth.get_raw_transaction_by_block(block.number, transaction.transactionIndex) == raw
    assert eth.get_raw_transaction_by_block(block.hash, transaction.transactionIndex) == raw
history = eth.fee_history(4, "latest", [10, 50, 90])
assert len(history.baseFeePerGas) == 5 and len(history.reward) == 4 and all(len(one) == 3 for one in history.reward)
assert eth.gas_price == eth.max_priority_fee + eth.get_block("latest").baseFeePerGas
sha3 = ours.provider.make_request("web3_sha3", ["0x" + b"headwater".hex()])["result"]
assert sha3 == Web3.keccak(text="headwater").to_0x_hex()


def until(what, ask):
    for _ in range(600):
        found = ask()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"FAILED: waited too long for {what}")


blocks, logs = eth.filter("latest"), eth.filter({"fromBlock": 1})
assert len(logs.get_all_entries()) > 0
seen = until("new blocks", blocks.get_new_entries)
for hash in seen:
    assert eth.get_block(hash).hash == hash
told = until("new logs", logs.get_new_entries)
assert all(not log.removed for log in told)
reorged = devnet.provider.make_request("devnet_reorg", [4])
assert "error" not in reorged, reorged
told = until("logs taken back", lambda: [log for log in logs.get_new_entries() if log.removed])
assert ours.eth.uninstall_filter(blocks.filter_id) and not ours.eth.uninstall_filter(blocks.filter_id)
for ask, words in [
    (lambda: eth.get_balance("0x" + "00" * 20), "keeps no state"),
    (lambda: eth.call({"to": "0x" + "00" * 20}), "keeps no state"),
    (lambda: eth.send_raw_transaction(raw), "sends no transactions"),
    (lambda: eth.filter("pending").get_new_entries(), "no pending transactions"),
]:
    try:
        ask()
    except Exception as error:
        assert words in str(error), error
    else:
        raise SystemExit(f"FAILED: it was not refused with: {words}")
print(f"web3.py: blocks, {len(block.transactions)} raw transactions, fees, filters; {len(told)} logs were taken back")
