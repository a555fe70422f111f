"""What a real broker refuses, each told apart, beside exporters that work over SASL (SCRAM, PLAIN) and with a client
certificate: wrong password, unknown authority, no certificate, denied topic, missing topic, absent broker, too large a
row. Nothing of it keeps capture or the others from going on, what is mended goes on by itself, and no secret is told.

usage: kafka_refusals.py WORKDIR    (WORKDIR is that of ../kafka/server.sh)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from appliance import PROGRAM, Appliance, Program, configure, free_port, until

servers = pathlib.Path(__file__).resolve().parents[1]
work = pathlib.Path(sys.argv[1])


def server(*arguments):
    subprocess.run(["bash", servers / "kafka/server.sh", arguments[0], work, *arguments[1:]], check=True,
                   stdout=subprocess.DEVNULL)


def main():
    server("start")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-refusals-"))
    run = f"refusals-{int(time.time())}"
    secret = (work / "tls/password").read_text().strip()
    os.environ["KAFKA_PASSWORD"], os.environ["KAFKA_WRONG"] = secret, "a-secret-that-is-wrong"
    authority = f'"ssl.ca.location" = "{work}/tls/ca.pem"'
    sasl = lambda mechanism, password="KAFKA_PASSWORD", more=authority: (
        f'brokers = ["127.0.0.1:9094"]\nsettings = {{ "security.protocol" = "SASL_SSL", "sasl.mechanism" = "{mechanism}", '
        f'"sasl.username" = "headwater", "sasl.password" = "env:{password}"{", " if more else ""}{more} }}')
    certificate = f'"ssl.certificate.location" = "{work}/tls/client.crt", "ssl.key.location" = "{work}/tls/client.key", '
    ssl = lambda more: (f'brokers = ["127.0.0.1:9095"]\nsettings = {{ "security.protocol" = "SSL", {more}{authority} }}')
    plain = 'brokers = ["127.0.0.1:9092"]'
    cases = {
        "scram": (sasl("SCRAM-SHA-512") + "\nexactly_once = true", "running", ""),
        "password": (sasl("PLAIN"), "running", ""),
        "certificate": (ssl(certificate), "running", ""),
        "wrong-password": (sasl("SCRAM-SHA-512", "KAFKA_WRONG"), "blocked", "uthentication"),
        "wrong-password-exactly": (sasl("PLAIN", "KAFKA_WRONG") + "\nexactly_once = true", "blocked", "uthentication"),
        "wrong-authority": (sasl("SCRAM-SHA-512", more=""), "blocked", "certificate"),
        "no-certificate": (ssl(""), "blocked", "certificate"),
        "denied": (sasl("SCRAM-SHA-512"), "blocked", "uthorization"),
        "missing": (plain + "\ncreate_topics = false", "blocked", "create_topics = true"),
        "nowhere": ('brokers = ["127.0.0.1:1"]', "retrying", "onnect"),
        "too-large": (plain + '\ntables = ["blocks", "chain_events"]\nsettings = { "message.max.bytes" = "1500" }', "running", ""),
    }
    deny = ["acls", "--bootstrap-server", "127.0.0.1:9092", "--topic", f"{run}.denied.", "--resource-pattern-type", "prefixed", "--deny-principal", "User:headwater",
            "--operation", "All"]
    server("cli", *deny, "--add")
    port = free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "200ms", "--transactions", "5")
    exporters = (f'[[exporter]]\nname = "{name}"\nkind = "kafka"\nprefix = "{run}.{name}."\ndelivery_timeout_secs = 10\n{keys}\n'
                 for name, (keys, _, _) in cases.items())
    config = configure(folder, f"http://127.0.0.1:{port}", "".join(exporters))
    appliance = Appliance(folder, "--config", config)
    views = lambda: {view["name"]: view for view in appliance.get("/v1/exporters")[1]["exporters"]}
    failed = []
    for name, (_, state, words) in cases.items():
        end = time.monotonic() + 60
        while True:
            view = views()[name]
            is_right = view["state"] == state and words in (view["reason"] or "")
            if is_right or time.monotonic() > end:
                break
            time.sleep(0.2)
        print(f"{name}: {view['state']}: {view['reason'] or 'exported up to ' + str(view['exported_lsn'])}"[:260])
        if not is_right:
            failed.append(name)
    assert not failed, failed
    until("what works to go on", lambda: all(views()[name]["exported_lsn"] > 40 for name in ["scram", "password", "certificate"]))
    assert appliance.head()[0] > 20, "capture went on"
    until("large rows to be set aside", lambda: views()["too-large"]["parked"] > 10)

    # What is mended goes on by itself.
    server("cli", *deny, "--remove", "--force")
    for table in ["blocks", "transactions", "logs", "withdrawals", "chain_events", "verification"]:
        server("cli", "topics", "--bootstrap-server", "127.0.0.1:9092", "--create", "--topic", f"{run}.missing.devnet.{table}")
    for name in ["denied", "missing"]:
        until(f"{name} to go on", lambda: views()[name]["state"] == "running" and views()[name]["lag"] < 10)
        print(f"{name}: goes on since it was mended")
    status = subprocess.run([PROGRAM, "exporters", "check", "--config", str(config), "--json"], capture_output=True, text=True)
    checked = {sink["name"]: sink for sink in json.loads(status.stdout)["exporters"]}
    assert status.returncode != 0 and "error" in checked["wrong-password"] and "error" not in checked["scram"], checked
    told = (folder / "headwater.log").read_text() + json.dumps(views()) + status.stdout + status.stderr
    for word in [secret, os.environ["KAFKA_WRONG"]]:
        assert word not in told, "a secret is told"
    node.kill()
    appliance.terminate()
    print("OK")


main()
