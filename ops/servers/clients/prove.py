"""What foreign clients ask of a node at start, asked of `/rpc/{chain}` over the devnet; one that is not installed is SKIPPED.

usage: HEADWATER=PROGRAM prove.py WORKDIR    (WORKDIR is that of install.sh)
"""
import csv
import pathlib
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "prove"))

from appliance import Appliance, Program, free_port, rpc, until  # noqa: E402

work = pathlib.Path(sys.argv[1]).resolve()


def run(name, is_there, command):
    """One client; whether it was there."""
    if not is_there:
        print(f"SKIPPED: {name} is not installed in {work}")
        return False
    done = subprocess.run([str(part) for part in command], cwd=work, timeout=300)
    if done.returncode:
        raise SystemExit(f"FAILED: {name} ended with {done.returncode}")
    return True


def has_package(python, module):
    path = work / python / "bin/python"
    return path.exists() and subprocess.run([path, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode == 0


def with_etl(appliance, url, folder):
    """ethereum-etl's files have the rows that SQL has."""
    last = appliance.head()[0] - 40  # what no reorg of this devnet reaches
    files = {name: folder / f"{name}.csv" for name in ["blocks", "transactions", "receipts", "logs", "hashes"]}
    etl = work / "etl/bin/ethereumetl"
    run("ethereum-etl", True, [etl, "export_blocks_and_transactions", "--start-block", 0, "--end-block", last, "--provider-uri", url,
                               "--blocks-output", files["blocks"], "--transactions-output", files["transactions"], "--max-workers", 2])
    read = {}
    for name in ["blocks", "transactions"]:
        with open(files[name], newline="") as file:
            read[name] = list(csv.DictReader(file))
    files["hashes"].write_text("".join(row["hash"] + "\n" for row in read["transactions"]))
    run("ethereum-etl", True, [etl, "export_receipts_and_logs", "--transaction-hashes", files["hashes"], "--provider-uri", url,
                               "--receipts-output", files["receipts"], "--logs-output", files["logs"], "--max-workers", 2])
    for name in ["receipts", "logs"]:
        with open(files[name], newline="") as file:
            read[name] = list(csv.DictReader(file))
    for name, columns in [("blocks", "block_number, to_hex0x(block_hash) as hash"),
                          ("transactions", "block_number, to_hex0x(transaction_hash) as hash"),
                          ("receipts", "block_number, to_hex0x(transaction_hash) as hash"),
                          ("logs", "block_number, to_hex0x(transaction_hash) as hash, log_index")]:
        table = "transactions" if name == "receipts" else name
        rows = appliance.sql(f"select {columns} from {table} where block_number <= {last}")
        number = "number" if name == "blocks" else "block_number"
        hash = "hash" if name in ("blocks", "transactions") else "transaction_hash"
        theirs = sorted((int(row[number]), row[hash], int(row.get("log_index", 0))) for row in read[name])
        assert theirs == sorted((row["block_number"], row["hash"], row.get("log_index", 0)) for row in rows), f"{name} differ"
        assert theirs, f"no {name}"
    print("ethereum-etl: " + ", ".join(f"{len(rows)} {name}" for name, rows in read.items()) + ", as SQL has them")


folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-clients-"))
port = free_port()
theirs = f"http://127.0.0.1:{port}"
devnet = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--blocks", "80", "--block-time", "1s")


def answers():
    try:
        return rpc(theirs, "eth_chainId")
    except OSError:
        return None


until("the devnet", answers)
appliance = Appliance(folder, "--rpc", theirs, "--ws", theirs.replace("http", "ws"), "--start", "0", "--name", "devnet",
                      "--listen", "127.0.0.1:0", "--data-dir", folder / "data")
until("the history", lambda: (appliance.head() or (0,))[0] >= 80 and not appliance.chain()["gaps"])
ours = f"{appliance.url}/rpc/devnet"
asked = [
    run("web3.py", has_package("web3py", "web3"), [work / "web3py/bin/python", here / "web3py.py", ours, theirs]),
    run("ethers", (work / "node_modules/ethers").exists(), ["node", here / "ethers.mjs", ours]),
    run("viem", (work / "node_modules/viem").exists(), ["node", here / "viem.mjs", ours]),
]
if has_package("etl", "ethereumetl"):
    with_etl(appliance, ours, folder)
    asked.append(True)
else:
    asked.append(run("ethereum-etl", False, []))
appliance.terminate()
print(f"{sum(asked)} of {len(asked)} clients were asked")
