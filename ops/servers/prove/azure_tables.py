"""Azure Tables on Azurite, read by Microsoft's own client: a run with reorgs, the appliance ends at every step and by kill
-9, the service is killed and comes back; then every table must hold what our SQL says. After it over https: a service
principal and a shared access signature work; what is wrong with them is told apart, and no secret is told.

usage: azure_tables.py AZURITE_WORKDIR KEYVAULT_WORKDIR [ENDS] [SEED]
"""
import base64
import collections
import datetime
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import AccountSasPermissions, EntityProperty, ResourceTypes, TableServiceClient, generate_account_sas

from appliance import PROGRAM, Appliance, Program, configure, free_port, rpc, until

servers = pathlib.Path(__file__).resolve().parents[1]
azurite_work, vault_work = sys.argv[1:3]
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ACCOUNT = "devstoreaccount1"
STEPS = ["forward.intent", "azure_tables.sent", "azure_tables.noted", "forward.exported"]


def azurite(action, **settings):
    words = ["env", *(f"{key}={value}" for key, value in settings.items()), "bash", servers / "azurite/server.sh", action, azurite_work]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def plain(value):
    """A property as our SQL writes it in JSON."""
    if isinstance(value, EntityProperty):
        value = value.value
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def compare(what, ours, theirs, key):
    index = {tuple(plain(row[name]) for name in key): row for row in theirs}
    assert len(index) == len(theirs), f"{what}: a key is there twice"
    assert len(ours) == len(index), f"{what}: {len(ours)} rows in SQL, {len(index)} in the table"
    values = 0
    for row in ours:
        other = index[tuple(row[name] for name in key)]
        for name, value in row.items():
            if name in other and name != "lsn":
                found = plain(other[name])
                same = value == found or (isinstance(value, (list, dict)) and value == json.loads(found))
                assert same, f"{what}: {name} is {value} in SQL, {found} in the table"
                values += 1
            else:
                assert value is None or name in ("lsn", "date", "chain_id") or name not in other and what not in ("Blocks", "Transactions"), f"{what}: {name}"
    print(f"{what}: {len(ours)} rows, {values} values equal")


def check(service, appliance, prefix):
    rows = lambda name: list(service.get_table_client(prefix + name).list_entities())
    standing = {plain(row["block_number"]): row["block_hash"] for row in rows("Canonical") if row["op"] == "applied"}
    chain = appliance.hashes()
    assert standing == chain, f"Canonical has {len(standing)} blocks, SQL {len(chain)}"
    hashes = set(chain.values())
    canonical = lambda name: [row for row in rows(name) if row["block_hash"] in hashes]
    blocks, transactions = appliance.sql("select * from blocks"), appliance.sql("select * from transactions")
    compare("Blocks", blocks, canonical("Blocks"), ["block_hash"])
    compare("Transactions", transactions, canonical("Transactions"), ["block_hash", "transaction_index"])
    compare("TransactionsByHash", transactions, canonical("TransactionsByHash"), ["block_hash", "transaction_index"])
    deployed = [row for row in transactions if row["receipt_contract_address"]]
    compare("Contracts", deployed, canonical("Contracts"), ["block_hash", "transaction_hash"])
    last = max(chain)
    page = service.get_table_client(prefix + "Blocks").query_entities(f"PartitionKey eq '1337-{last // 1000:010}' and RowKey ge '{last:016}'")
    assert [plain(row["block_number"]) for row in page if row["block_hash"] in hashes] == [last], "a block by its number"
    wanted = collections.defaultdict(set)
    for row in transactions:
        for name in ["from_address", "to_address", "receipt_contract_address"]:
            if row[name]:
                wanted[row[name]].add(row["transaction_hash"])
    by_address = service.get_table_client(prefix + "TransactionsByAddress")
    for address in list(wanted)[:50]:
        found = [row for row in by_address.query_entities(f"PartitionKey eq '1337-{address[2:4]}' and RowKey ge '{address}-' and RowKey lt '{address}.'") if row["block_hash"] in hashes]
        numbers = [plain(row["block_number"]) for row in found]
        assert numbers == sorted(numbers, reverse=True), "the newest come first"
        assert {row["transaction_hash"] for row in found} == wanted[address], f"transactions of {address}"
    print(f"TransactionsByAddress: {min(50, len(wanted))} of {len(wanted)} addresses asked")


def state(appliance, name="tables"):
    return next(view for view in appliance.get("/v1/exporters")[1]["exporters"] if view["name"] == name)


def crashes(ends, rng):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-azure-"))
    # What earlier runs left would be written anew before every answer.
    shutil.rmtree(pathlib.Path(sys.argv[1]) / "data", ignore_errors=True)
    azurite("start", AZURITE_MODE="durable")
    prefix = f"proof{int(time.time())}"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "500ms", "--finality", "16",
                   "--reorg-every", "7", "--reorg-depth", "5", "--transactions", "4")
    endpoint = f"http://127.0.0.1:10002/{ACCOUNT}"
    os.environ["AZURE_TABLES_KEY"] = KEY
    config = configure(folder, url, f"""[[exporter]]
name = "tables"
kind = "azure_tables"
account = "{ACCOUNT}"
endpoint = "{endpoint}"
prefix = "{prefix}"
key = "env:AZURE_TABLES_KEY"
""")
    places = collections.Counter()
    for _ in range(ends):
        step = rng.choice([*STEPS, "kill", "service"])
        if step in STEPS:
            os.environ["HEADWATER_ABORT_AT"] = f"{step}:{rng.randrange(5)}"
        appliance = Appliance(folder, "--config", config)
        os.environ.pop("HEADWATER_ABORT_AT", None)
        if step in STEPS:
            code = appliance.process.wait(120)
            assert code == -6, f"it did not end at {step}, but with {code}: see {appliance.log.name}"
        elif step == "service":
            start = until("a cursor", lambda: state(appliance)["exported_lsn"])
            azurite("kill")
            head = appliance.head()[0]
            until("a retry", lambda: state(appliance)["state"] == "retrying", 60)
            until("the head to go on", lambda: appliance.head()[0] > head + 5)
            azurite("start", AZURITE_MODE="durable")
            until("it to go on", lambda: state(appliance)["exported_lsn"] > start and state(appliance)["lag"] < 10, 180)
            appliance.kill()
        else:
            time.sleep(0.5 + rng.random() * 2)
            appliance.kill()
        places[step] += 1
    print("ended:", dict(places))
    appliance = Appliance(folder, "--config", config)
    until("some more", lambda: appliance.head() and appliance.head()[0] > 60, 180)
    # The emulator rewrites a file for each answer: it would not keep up with a chain that goes on.
    last = int(rpc(url, "eth_blockNumber"), 16)
    node.kill()
    until("the last blocks", lambda: state(appliance)["lag"] == 0 and appliance.head()[0] >= last - 5, 300)
    time.sleep(1)
    check(TableServiceClient(endpoint=endpoint, credential=AzureNamedKeyCredential(ACCOUNT, KEY)), appliance, prefix)
    appliance.terminate()
    azurite("stop")


def identities():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-azure-tls-"))
    azurite("start", AZURITE_MODE="memory", AZURITE_TLS=1)
    subprocess.run(["bash", servers / "keyvault/server.sh", "start", vault_work], check=True, stdout=subprocess.DEVNULL)
    principal = dict(line.removeprefix("export ").replace('"', "").split("=", 1) for line in (pathlib.Path(vault_work) / "principal.env").read_text().splitlines() if "=" in line)
    # One file with both authorities: the service's and the token's.
    trust = folder / "ca.pem"
    trust.write_text((pathlib.Path(azurite_work) / "tls/ca.pem").read_text() + (pathlib.Path(vault_work) / "tls/ca.pem").read_text())
    now = datetime.datetime.now(datetime.timezone.utc)
    sas = lambda permissions, until_then: generate_account_sas(
        AzureNamedKeyCredential(ACCOUNT, KEY), resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions.from_string(permissions), expiry=until_then)
    os.environ["SAS_RIGHT"] = sas("raudlw", now + datetime.timedelta(hours=1))
    os.environ["SAS_EXPIRED"] = sas("raudlw", now - datetime.timedelta(hours=1))
    os.environ["SAS_READ"] = sas("r", now + datetime.timedelta(hours=1))
    os.environ["PRINCIPAL_RIGHT"], os.environ["PRINCIPAL_WRONG"] = principal["AZURE_CLIENT_SECRET"], "a-secret-that-is-wrong"
    os.environ["KEY_WRONG"] = base64.b64encode(b"a-key-that-is-wrong").decode()
    os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"] = principal["MANAGED_IDENTITY_ENDPOINT"], principal["MANAGED_IDENTITY_HEADER"]
    who = lambda secret: (f'principal = {{ tenant_id = "{principal["AZURE_TENANT_ID"]}", client_id = "{principal["AZURE_CLIENT_ID"]}", '
                          f'client_secret = "env:{secret}", authority = "{principal["AZURE_AUTHORITY_HOST"]}" }}\n')
    ca = f'certificate = "{trust}"\n'
    cases = {
        "principal": (who("PRINCIPAL_RIGHT") + ca, "running", ""),
        "identity": ("managed_identity = true\n" + ca, "running", ""),
        "signature": ('sas = "env:SAS_RIGHT"\n' + ca, "running", ""),
        "wrongsecret": (who("PRINCIPAL_WRONG") + ca, "blocked", "AADSTS7000215"),
        "wrongkey": ('key = "env:KEY_WRONG"\n' + ca, "blocked", "look at `key`"),
        "expired": ('sas = "env:SAS_EXPIRED"\n' + ca, "blocked", "403"),
        "readonly": ('sas = "env:SAS_READ"\n' + ca, "blocked", "sp=raud"),
        "untrusted": ('sas = "env:SAS_RIGHT"\n', "blocked", "is `certificate` its authority?"),
    }
    port = free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "300ms", "--transactions", "4")
    run = f"i{int(time.time())}"
    exporters = (f'[[exporter]]\nname = "{name}"\nkind = "azure_tables"\naccount = "{ACCOUNT}"\nendpoint = "https://localhost:10002/{ACCOUNT}"\n'
                 f'prefix = "{run}{name}"\n{keys}\n' for name, (keys, _, _) in cases.items())
    config = configure(folder, f"http://127.0.0.1:{port}", "".join(exporters))
    appliance = Appliance(folder, "--config", config)
    for name, (_, expected, words) in cases.items():
        until(f"{name} to be {expected}", lambda: state(appliance, name)["state"] == expected, 120)
        reason = state(appliance, name)["reason"] or ""
        print(f"{name}: {expected} {reason}"[:300])
        assert words in reason, f"{name}: `{words}` is not in its reason"
    before = appliance.head()[0]
    until("the others to go on", lambda: appliance.head()[0] > before + 10 and all(state(appliance, name)["lag"] < 10 for name in ["principal", "identity", "signature"]))
    told = pathlib.Path(appliance.log.name).read_text() + json.dumps(appliance.get("/v1/exporters")[1])
    for secret in ["PRINCIPAL_RIGHT", "PRINCIPAL_WRONG", "KEY_WRONG", "SAS_RIGHT", "SAS_EXPIRED"]:
        assert os.environ[secret] not in told and os.environ[secret][-30:] not in told, f"{secret} is told"
    appliance.kill()
    node.kill()
    azurite("stop")
    subprocess.run(["bash", servers / "keyvault/server.sh", "stop", vault_work], check=True, stdout=subprocess.DEVNULL)
    print(f"OK: {len(cases)} ways to be known, with {pathlib.Path(PROGRAM).name}")


def main():
    ends = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time())
    print(f"seed {seed}")
    crashes(ends, random.Random(seed))
    identities()


main()
