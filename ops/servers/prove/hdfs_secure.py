"""HDFS with two NameNodes and with Kerberos, both by Hadoop's own configuration files: a graceful failover, the active one
killed, the active one hung; a keytab, a ticket cache, a wrong keytab, none, an expired ticket, a KDC that is away.

usage: hdfs_secure.py HDFS_WORKDIR        its library is shared by servers below it; Kerberos needs Debian's krb5-kdc krb5-admin-server krb5-user
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, until
from lake import Cluster, state

work = pathlib.Path(sys.argv[1])
os.environ["HDFS_LIB"] = os.environ.get("HDFS_LIB", str(work / "lib"))


def devnet(folder):
    port = free_port()
    Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "8", "--transactions", "2")
    return f"http://127.0.0.1:{port}"


def exporter(url, conf, more):
    return (f'[[exporter]]\nname = "lake"\nkind = "hdfs"\nurl = "{url}"\nconf_dir = "{conf}"\n'
            f"max_wait_secs = 1\ntakeover_secs = 2\ncall_timeout_secs = 3\n{more}")


def goes_on(appliance, what, seconds=120):
    before = state(appliance)["exported_lsn"]
    begun = time.monotonic()
    until(f"it to go on after {what}", lambda: state(appliance)["exported_lsn"] > before, seconds)
    print(f"{what}: goes on after {time.monotonic() - begun:.1f} s", flush=True)


def name_service(folder):
    ha = Cluster(work / "ha", HA=1)
    ha("start")
    lake = f"/ha-{int(time.time())}"
    ha("cli", "-mkdir", lake)
    ha("cli", "-chown", "headwater", lake)
    config = configure(folder / "ha", devnet(folder), exporter(f"hdfs://ha{lake}", f"{work}/ha/conf", 'user = "headwater"\n'), part_blocks=20)
    appliance = Appliance(folder / "ha", "--config", config)
    goes_on(appliance, "the start")
    active = "nn"
    for how in ["failover", "kill", "pause"]:
        other = "nn2" if active == "nn" else "nn"
        head = appliance.head()[0]
        if how == "failover":
            ha("ha", "-failover", active, other)
        else:
            ha(how, active)
            time.sleep(3)  # as long as a controller takes to notice
            ha("ha", "-failover", active, other)
        goes_on(appliance, f"{how} of the active {active}", 240)
        assert appliance.head()[0] > head
        if how == "kill":
            ha("start", active)
            # It is of use again when DataNodes have told it what they hold.
            until("the other NameNode", lambda: "is ON" not in ha("admin", "-safemode", "get", check=False), 120)
        active = other
    appliance.terminate()
    # By the NameNode that is active now: the lake is whole and has each block once.
    listing = ha("cli", "-ls", "-R", lake)
    names = [line.rsplit("/", 1)[1] for line in listing.splitlines() if line.endswith(".parquet") and "/blocks/" in line and "/tmp/" not in line]
    numbers = sorted(number for name in names for number in range(int(name[7:19]), int(name[20:32]) + 1))
    assert numbers == list(range(len(numbers))) and numbers, "holes or doubles"
    print(f"two NameNodes: blocks 0 to {numbers[-1]} in {len(names)} files")
    ha("stop")


def kerberos(folder):
    krb = Cluster(work / "krb", KERBEROS=1)
    krb("start")
    conf, keys = work / "krb/conf", work / "krb/krb5"
    os.environ["KRB5_CONFIG"] = str(keys / "krb5.conf")
    admin = lambda query: subprocess.run(["kadmin.local", "-q", query], check=True, stdout=subprocess.DEVNULL,
                                         env={**os.environ, "KRB5_KDC_PROFILE": str(keys / "kdc.conf")})
    lake = f"/krb-{int(time.time())}"
    krb("cli", "-mkdir", lake)
    krb("cli", "-chown", "alice", lake)
    url = f"hdfs://localhost:9000{lake}"
    node = devnet(folder)
    wrong = keys / "wrong.keytab"
    if not wrong.exists():
        admin("addprinc -randkey mallory")
        admin(f"ktadd -k {wrong} mallory")
    plain = work / "krb/plain"
    plain.mkdir(exist_ok=True)
    (plain / "core-site.xml").write_text("<configuration></configuration>\n")

    def refused(name, conf_dir, more, words, states=("blocked",), **environment):
        before = {key: os.environ.get(key) for key in environment}
        os.environ.update(environment)
        config = configure(folder / name, node, exporter(url, conf_dir, more), part_blocks=20)
        appliance = Appliance(folder / name, "--config", config)
        view = until(f"{name} to be refused", lambda: next((v for v in [state(appliance)] if v["state"] in states and v["reason"]), None), 60)
        for word in words:
            assert word in view["reason"], (name, word, view["reason"])
        print(f"{name}: {view['state']}: {view['reason'][:200]}", flush=True)
        appliance.kill()
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)

    no_tickets = f"FILE:{folder}/none.cc"
    refused("no-ticket", conf, "", ["Kerberos"], KRB5CCNAME=no_tickets)
    refused("wrong-principal", conf, f'principal = "alice@HEADWATER.TEST"\nkeytab = "{wrong}"\n', ["Kerberos"], KRB5CCNAME=no_tickets)
    refused("stranger", conf, f'principal = "mallory@HEADWATER.TEST"\nkeytab = "{wrong}"\n', ["mallory", "-chown"], KRB5CCNAME=no_tickets)
    refused("no-kerberos", plain, 'user = "alice"\n', [], states=("blocked", "retrying"))

    # A keytab: it logs in again by itself when a ticket of a minute has expired, and when the KDC was away.
    admin("modprinc -maxlife 60seconds alice")
    config = configure(folder / "keytab", node, exporter(url, conf, f'principal = "alice@HEADWATER.TEST"\nkeytab = "{keys}/alice.keytab"\n'), part_blocks=20)
    os.environ["KRB5CCNAME"] = no_tickets
    appliance = Appliance(folder / "keytab", "--config", config)
    goes_on(appliance, "a keytab")
    krb("kill", "nn")
    krb("kill", "kdc")
    time.sleep(5)
    krb("start")
    goes_on(appliance, "the NameNode and the KDC killed")
    time.sleep(65)
    krb("kill", "nn")
    krb("start", "nn")
    goes_on(appliance, "a ticket that expired, and a new NameNode")
    appliance.terminate()

    # A ticket cache that somebody else renews: without it the exporter is blocked, with it it goes on.
    cache = f"{folder}/alice.cc"
    kinit = lambda: subprocess.run(["kinit", "-c", cache, "-kt", keys / "alice.keytab", "alice"], check=True)
    kinit()
    os.environ["KRB5CCNAME"] = f"FILE:{cache}"
    config = configure(folder / "cache", node, exporter(f"{url}/cache", conf, ""), part_blocks=20)
    appliance = Appliance(folder / "cache", "--config", config)
    goes_on(appliance, "a ticket cache")
    time.sleep(62)
    krb("kill", "nn")
    krb("start", "nn")
    view = until("it to be blocked", lambda: next((v for v in [state(appliance)] if v["state"] == "blocked"), None), 120)
    print(f"expired ticket: {view['reason'][:200]}")
    assert "expired" in view["reason"], view
    kinit()
    goes_on(appliance, "kinit")
    appliance.terminate()
    os.environ.pop("KRB5CCNAME")
    krb("stop")


folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-secure-"))
name_service(folder)
if shutil.which("krb5kdc") or pathlib.Path("/usr/sbin/krb5kdc").exists():
    kerberos(folder)
    print("OK: hdfs secure")
else:
    print("NOT RUN: Kerberos: krb5kdc is not installed")
