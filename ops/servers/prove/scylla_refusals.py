"""What a real CQL server refuses, each told apart, beside exporters that work with password and client certificate: wrong
password, none, authority, client certificate, name, rights, datacenter, keyspace, type of a column, address. Nothing of it
keeps capture or the others from going on, what is mended goes on by itself, and no secret is told.

usage: scylla_refusals.py WORKDIR    (WORKDIR is that of ../cassandra/server.sh, of its own: it runs with AUTH=1 TLS=mutual)
"""
import json
import os
import pathlib
import ssl
import sys
import tempfile
import time

from cassandra.auth import PlainTextAuthProvider

from appliance import PROGRAM, Appliance, Program, configure, free_port, until
from cql import cassandra, connect, exporter_of

work = pathlib.Path(sys.argv[1])
PORT = 9050


def administrator():
    context = ssl.create_default_context(cafile=work / "tls/ca.pem")
    context.load_cert_chain(work / "tls/client.pem", work / "tls/client.key")
    context.check_hostname = False
    return connect("127.0.0.1", port=PORT, ssl_context=context, auth_provider=PlainTextAuthProvider("cassandra", "cassandra"))


def main():
    cassandra("start", work, CQL_PORT=PORT, AUTH=1, TLS="mutual")
    session = administrator()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-cql-refusals-"))
    run = f"r{int(time.time())}"
    secret, wrong = "a-secret-that-is-right", "a-secret-that-is-wrong"
    os.environ["CQL_PASSWORD"], os.environ["CQL_WRONG"] = secret, wrong
    for role in ["writer", "reader"]:
        session.execute(f"DROP ROLE IF EXISTS {role}")
        session.execute(f"CREATE ROLE {role} WITH PASSWORD = '{secret}' AND LOGIN = true")
    session.execute("GRANT CREATE ON ALL KEYSPACES TO writer")
    session.execute("GRANT MODIFY ON ALL KEYSPACES TO writer")
    session.execute("GRANT SELECT ON ALL KEYSPACES TO writer")
    session.execute(f"CREATE KEYSPACE {run}_type WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}}")
    session.execute(f"CREATE TABLE {run}_type.canonical (chain_id bigint, bucket bigint, block_number bigint, block_hash text, "
                    "PRIMARY KEY ((chain_id, bucket), block_number))")

    node = f'nodes = ["127.0.0.1:{PORT}"]\n'
    dc = 'datacenter = "datacenter1"\n'
    user = 'user = "writer"\npassword = "env:CQL_PASSWORD"\n'
    ours = f'client_certificate = "{work}/tls/client.pem", client_key = "{work}/tls/client.key"'
    tls = lambda more, authority="ca.pem": f'tls = {{ certificate = "{work}/tls/{authority}", {more} }}\n'
    cases = {
        "right": (node + dc + user + tls(ours), "running", ""),
        "named": (node + dc + user + tls(ours + ', server_name = "localhost"'), "running", ""),
        "misnamed": (node + dc + user + tls(ours + ', server_name = "elsewhere"'), "blocked", "certificate is not trusted"),
        "password": (node + dc + 'user = "writer"\npassword = "env:CQL_WRONG"\n' + tls(ours), "blocked", "incorrect"),
        "nobody": (node + dc + tls(ours), "blocked", "asks for `user` and `password`"),
        "authority": (node + dc + user + tls(ours, "client.pem"), "blocked", "certificate is not trusted"),
        "stranger": (node + dc + user + tls("").replace(", }", " }"), "blocked", "asks for `tls.client_certificate`"),
        "denied": (node + dc + user.replace("writer", "reader") + tls(ours), "blocked", "permission"),
        "dc": (node + 'datacenter = "elsewhere"\n' + user + tls(ours), "blocked", "one of datacenter1"),
        "missing": (node + dc + "create_schema = false\n" + user + tls(ours), "blocked", "create_schema = true"),
        "type": (node + dc + user + tls(ours), "blocked", "block_hash is text, not blob"),
        "nowhere": ('nodes = ["127.0.0.1:1"]\n' + dc + user, "retrying", "onnect"),
    }
    port = free_port()
    chain = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "200ms", "--transactions", "5")
    exporters = (f'[[exporter]]\nname = "{name}"\nkind = "scylla"\nkeyspace = "{run}_{name}"\n{keys}\n' for name, (keys, _, _) in cases.items())
    config = configure(folder, f"http://127.0.0.1:{port}", "".join(exporters))
    appliance = Appliance(folder, "--config", config)
    state = lambda name: exporter_of(appliance, name)
    for name, (_, expected, words) in cases.items():
        until(f"{name} to be {expected}", lambda: state(name)["state"] == expected, 180)
        reason = state(name)["reason"] or ""
        print(f"{name}: {expected} {reason}")
        assert words in reason, f"{name}: `{words}` is not in its reason"
    before = appliance.head()[0]
    until("capture and the others to go on", lambda: appliance.head()[0] > before + 10 and state("right")["lag"] < 10 and state("named")["lag"] < 10)

    # What is mended goes on by itself.
    session.execute("GRANT CREATE ON ALL KEYSPACES TO reader")
    session.execute("GRANT MODIFY ON ALL KEYSPACES TO reader")
    session.execute("GRANT SELECT ON ALL KEYSPACES TO reader")
    session.execute(f"DROP TABLE {run}_type.canonical")
    for name in ["denied", "type"]:
        until(f"{name} to go on", lambda: state(name)["state"] == "running" and state(name)["lag"] < 10, 180)
        print(f"{name}: mended, {state(name)['exported_lsn']} records exported")

    told = pathlib.Path(appliance.log.name).read_text()
    for path in ["/v1/exporters", "/v1/status", "/v1/chains"]:
        told += json.dumps(appliance.get(path)[1])
    assert secret not in told and wrong not in told, "a secret is told"
    for role in ["writer", "reader"]:
        session.execute(f"DROP ROLE {role}")
    appliance.kill()
    chain.kill()
    print(f"OK: {len(cases)} cases with {pathlib.Path(PROGRAM).name}")


main()
