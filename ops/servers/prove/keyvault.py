"""Secrets of a key vault: a start while it is away, an outage after the start, a secret that is missing, one that is
denied, one that is replaced: a provider's key and a sink's; a machine that reads it by its managed identity. Nothing of it stops what does not need it; no secret is told.

usage: keyvault.py KEYVAULT_WORKDIR AZURITE_WORKDIR
"""
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from appliance import PROGRAM, Appliance, Program, configure, free_port, rpc, until

servers = pathlib.Path(__file__).resolve().parents[1]
vault_work, azurite_work = sys.argv[1:3]
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
OTHER = "b3RoZXIta2V5LXRoYXQtaXMtd3Jvbmc="


def vault(*words):
    return subprocess.run(["bash", servers / "keyvault/server.sh", words[0], vault_work, *words[1:]], check=True, capture_output=True, text=True).stdout


def put(name, value):
    vault("cli", "PUT", f"secrets/{name}", json.dumps({"value": value}))


def azurite(action):
    subprocess.run(["env", "AZURITE_MODE=memory", "bash", servers / "azurite/server.sh", action, azurite_work], check=True, stdout=subprocess.DEVNULL)


class Door(http.server.BaseHTTPRequestHandler):
    """A provider that knows one key: the last part of the path."""
    right, behind, used = "", "", set()

    def do_POST(self):
        key, body = self.path.rsplit("/", 1)[-1], self.rfile.read(int(self.headers["content-length"]))
        Door.used.add(key)
        status, answer = 401, b'{"error":"unknown key"}'
        if key == Door.right:
            with urllib.request.urlopen(urllib.request.Request(Door.behind, body, {"content-type": "application/json"}), timeout=30) as reply:
                status, answer = reply.status, reply.read()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def state(appliance, name):
    return next(view for view in appliance.get("/v1/exporters")[1]["exporters"] if view["name"] == name)


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-vault-"))
    vault("start")
    azurite("start")
    for line in (pathlib.Path(vault_work) / "principal.env").read_text().splitlines():
        if "=" in line:
            name, value = line.removeprefix("export ").split("=", 1)
            os.environ[name] = value.strip('"')
    first, second = f"first-key-{time.time_ns()}", f"second-key-{time.time_ns()}"
    put("rpc-key-1", first)
    put("tables-key", OTHER)
    port, door_port = free_port(), free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "300ms", "--transactions", "4")
    Door.right, Door.behind = first, f"http://127.0.0.1:{port}"
    threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", door_port), Door).serve_forever, daemon=True).start()
    run = f"v{int(time.time())}"
    # The vault keeps what earlier runs put there.
    absent = f"nothing-here-{run}"
    tables = lambda name, key: (f'[[exporter]]\nname = "{name}"\nkind = "azure_tables"\naccount = "devstoreaccount1"\nprefix = "{run}{name}"\n'
                                f'endpoint = "http://127.0.0.1:10002/devstoreaccount1"\nkey = "{key}"\n')
    config = configure(folder, f'http://127.0.0.1:{door_port}/v3/{{key}}"\nkeys = ["vault:rpc-key-1"]\n#"',
                       tables("stored", "vault:tables-key") + tables("absent", f"vault:{absent}")
                       + f'[vault]\nurl = "{os.environ["KEYVAULT_URL"]}"\ncertificate = "{os.environ["KEYVAULT_CA"]}"\nverify_resource = false\nrefresh_secs = 20\n')

    # It waits for the vault, says so, and can be asked meanwhile.
    vault("stop")
    appliance = Appliance(folder, "--config", config)
    until("it to say what it waits for", lambda: "keys are waited for" in json.dumps(appliance.get("/readyz")[1]), 60)
    status, body = appliance.get("/readyz")
    assert status == 503, status
    print("without the vault:", json.dumps(body)[:300])
    time.sleep(2)
    vault("start")
    until("the first blocks", lambda: appliance.chain() and appliance.head() and appliance.head()[0] > 3, 60)
    appliance.url = "http://" + (appliance.data / "http.address").read_text().strip()
    assert Door.used == {first}, Door.used

    # A secret that is wrong, one that is missing; capture and the others go on.
    until("a refusal", lambda: state(appliance, "stored")["state"] == "blocked", 60)
    print("a wrong key:", state(appliance, "stored")["reason"])
    until("what is missing to be told", lambda: state(appliance, "absent")["state"] == "blocked", 60)
    print("no such secret:", state(appliance, "absent")["reason"])
    assert absent in state(appliance, "absent")["reason"] and "look at its name" in state(appliance, "absent")["reason"]

    # What is put right in the vault is found without a word.
    put("tables-key", KEY)
    put(absent, KEY)
    for name in ["stored", "absent"]:
        until(f"{name} to go on", lambda: state(appliance, name)["state"] == "running" and state(appliance, name)["lag"] < 10, 120)
    print("mended: both go on")

    # The provider takes another key: the vault has it.
    head = appliance.head()[0]
    Door.right = second
    put("rpc-key-1", second)
    began = time.monotonic()
    until("the head to go on with the other key", lambda: appliance.head()[0] > head + 10, 180)
    print(f"another key of the provider: goes on after {time.monotonic() - began:.0f} s")

    # The vault is away, or refuses: what is known stays.
    vault("stop")
    head = appliance.head()[0]
    time.sleep(25)  # Past the age at which secrets are asked for again.
    until("the head to go on without the vault", lambda: appliance.head()[0] > head + 20)
    assert state(appliance, "stored")["state"] == "running"
    vault("start")
    told = pathlib.Path(appliance.log.name).read_text() + "".join(json.dumps(appliance.get(path)[1]) for path in ["/v1/exporters", "/v1/status", "/v1/providers"])
    told += subprocess.run([PROGRAM, "providers", "--data-dir", str(appliance.data), "--json"], capture_output=True, text=True).stdout
    for secret in [first, second, KEY, OTHER, os.environ["AZURE_CLIENT_SECRET"]]:
        assert secret not in told, "a secret is told"
    appliance.terminate()

    # The machine itself may read the vault: no secret is needed to get the others.
    os.environ.pop("AZURE_CLIENT_SECRET")
    text = config.read_text()
    config.write_text(text.replace("verify_resource = false", "verify_resource = false\nmanaged_identity = true"))
    os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"] = os.environ["MANAGED_IDENTITY_ENDPOINT"], os.environ["MANAGED_IDENTITY_HEADER"]
    head = int(rpc(f"http://127.0.0.1:{port}", "eth_blockNumber"), 16)
    appliance = Appliance(folder, "--config", config)
    until("the head by the machine's identity", lambda: appliance.chain() and appliance.head() and appliance.head()[0] > head + 10, 120)
    appliance.url = "http://" + (appliance.data / "http.address").read_text().strip()
    until("a sink by the machine's identity", lambda: state(appliance, "stored")["state"] == "running" and state(appliance, "stored")["lag"] < 10, 120)
    appliance.terminate()
    os.environ["IDENTITY_HEADER"] = "another-machine"
    checked = subprocess.run([PROGRAM, "check", "--config", str(config)], capture_output=True, text=True)
    assert checked.returncode != 0 and "not this machine's" in checked.stderr, checked.stderr
    print("managed identity: goes on; of another machine:", checked.stderr.strip().splitlines()[-1][:250])
    config.write_text(text)

    # Who we are is wrong: told as that.
    os.environ["AZURE_CLIENT_SECRET"] = "a-secret-that-is-wrong"
    checked = subprocess.run([PROGRAM, "check", "--config", str(config)], capture_output=True, text=True)
    assert checked.returncode != 0 and "AADSTS7000215" in checked.stderr and "a-secret-that-is-wrong" not in checked.stderr, checked.stderr
    print("a wrong principal:", checked.stderr.strip().splitlines()[-1][:250])
    node.kill()
    azurite("stop")
    vault("stop")
    print("OK")


main()
