#!/usr/bin/env bash
# End-to-end proofs against real servers, started without Docker: Kafka, Cassandra, Azurite, a key vault,
# HDFS, Spark, anvil, go-ethereum, web3.py, ethers, viem, ethereum-etl, DuckDB and pyarrow, and a disk of its own that is filled.
# usage: test.sh [kafka|kafka-avro|scylla|hdfs|azure-tables|keyvault|all-sinks|anvil|geth|rpc-compat|clients|parts|disk]...     all by default
#   EXECUTION_APIS=DIR is a checkout of ethereum/execution-apis, for rpc-compat
#   HEADWATER_SERVERS=DIR keeps the installed servers between runs (several minutes to install; Java 17, Node, Go, Python)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
w=${HEADWATER_SERVERS:-$(mktemp -d)}
mkdir -p "$w"
[ $# -gt 0 ] || set -- parts disk kafka kafka-avro scylla hdfs azure-tables keyvault all-sinks anvil geth rpc-compat clients
cargo build --release
export HEADWATER=${HEADWATER:-$PWD/target/release/headwater}
if [ ! -x "$w/py/bin/python" ]; then python3 -m venv "$w/py"; fi
"$w/py/bin/pip" install -q 'confluent-kafka[avro,schemaregistry]==2.16.1' cassandra-driver==3.30.1 azure-data-tables==12.7.0 duckdb pyarrow web3
cleanup() {
  bash "$here/kafka/server.sh" stop "$w/kafka" > /dev/null 2>&1 || true
  bash "$here/schema-registry/server.sh" stop "$w/registry" > /dev/null 2>&1 || true
  for cassandra in cassandra cassandra-tls cassandra-cluster/one cassandra-cluster/three; do
    if [ -d "$w/$cassandra" ]; then bash "$here/cassandra/server.sh" kill "$w/$cassandra" > /dev/null 2>&1 || true; fi
  done
  for hdfs in hdfs hdfs/three hdfs/ha hdfs/krb; do
    if [ -d "$w/$hdfs" ]; then bash "$here/hdfs/server.sh" kill "$w/$hdfs" > /dev/null 2>&1 || true; fi
  done
  bash "$here/azurite/server.sh" kill "$w/azurite" > /dev/null 2>&1 || true
  bash "$here/keyvault/server.sh" kill "$w/keyvault" > /dev/null 2>&1 || true
  for client in anvil geth; do
    if [ -d "$w/$client" ]; then EVM_CLIENT=$client bash "$here/evm/server.sh" stop "$w/$client" || true; fi
  done
}
trap cleanup EXIT
for proof in "$@"; do
  echo "== $proof"
  case $proof in
    kafka)
      bash "$here/kafka/server.sh" install "$w/kafka"
      bash "$here/kafka/server.sh" start "$w/kafka"
      HEADWATER_KAFKA=127.0.0.1:9092 cargo test -p headwater-exporters --test exporters kafka
      "$w/py/bin/python" "$here/prove/kafka.py" "$w/kafka"
      "$w/py/bin/python" "$here/prove/kafka_legacy.py" "$w/kafka"
      "$w/py/bin/python" "$here/prove/kafka_refusals.py" "$w/kafka"
      "$w/py/bin/python" "$here/prove/kafka_exactly_once.py" "$w/kafka" "${HEADWATER_KILLS:-60}"
      SPLIT_BYTES=300 "$w/py/bin/python" "$here/prove/kafka_exactly_once.py" "$w/kafka" 15 ;;
    kafka-avro)
      bash "$here/kafka/server.sh" install "$w/kafka"
      bash "$here/schema-registry/server.sh" install "$w/registry"
      if why=$(bash "$here/schema-registry/server.sh" start "$w/registry" 2>&1); then
        bash "$here/schema-registry/server.sh" stop "$w/registry"
        "$w/py/bin/python" "$here/prove/kafka_avro.py" "$w/kafka" "$w/registry"
        "$w/py/bin/python" "$here/prove/kafka_legacy.py" "$w/kafka" "$w/registry"
        REGISTRY=$w/registry "$w/py/bin/python" "$here/prove/kafka_exactly_once.py" "$w/kafka" 15
      else
        echo "NOT RUN: the schema registry does not start: $why"
      fi ;;
    scylla)
      bash "$here/cassandra/server.sh" start "$w/cassandra"
      HEADWATER_CQL=127.0.0.1:9042 cargo test -p headwater-exporters --test exporters scylla
      "$w/py/bin/python" "$here/prove/scylla.py" "$w/cassandra" "${HEADWATER_ENDS:-20}"
      bash "$here/cassandra/server.sh" stop "$w/cassandra"
      "$w/py/bin/python" "$here/prove/scylla_refusals.py" "$w/cassandra-tls"
      bash "$here/cassandra/server.sh" stop "$w/cassandra-tls"
      "$w/py/bin/python" "$here/prove/scylla_cluster.py" "$w/cassandra-cluster" ;;
    hdfs)
      bash "$here/hdfs/server.sh" install "$w/hdfs"
      bash "$here/spark/server.sh" install "$w/spark"
      "$w/py/bin/python" "$here/prove/hdfs.py" "$w/hdfs" "$w/spark" "${HEADWATER_ENDS:-20}"
      "$w/py/bin/python" "$here/prove/hdfs_refusals.py" "$w/hdfs"
      HDFS_LIB=$w/hdfs/lib "$w/py/bin/python" "$here/prove/hdfs_datanodes.py" "$w/hdfs/three"
      "$w/py/bin/python" "$here/prove/hdfs_secure.py" "$w/hdfs" ;;
    azure-tables)
      AZURITE_MODE=memory bash "$here/azurite/server.sh" start "$w/azurite"
      HEADWATER_AZURE_TABLES=http://127.0.0.1:10002/devstoreaccount1 cargo test -p headwater-exporters --test exporters azure_tables
      bash "$here/azurite/server.sh" stop "$w/azurite"
      "$w/py/bin/python" "$here/prove/azure_tables.py" "$w/azurite" "$w/keyvault" "${HEADWATER_ENDS:-12}" ;;
    keyvault)
      bash "$here/azurite/server.sh" install "$w/azurite"
      "$w/py/bin/python" "$here/prove/keyvault.py" "$w/keyvault" "$w/azurite" ;;
    all-sinks)
      for server in kafka cassandra hdfs azurite; do bash "$here/$server/server.sh" install "$w/$server"; done
      "$w/py/bin/python" "$here/prove/all_sinks.py" "$w" "${HEADWATER_MINUTES:-10}"
      "$w/py/bin/python" "$here/prove/backlog.py" "$w" ;;
    anvil | geth)
      export EVM_CLIENT=$proof
      bash "$here/evm/server.sh" install "$w/$proof"
      "$w/py/bin/python" "$here/prove/evm.py" "$w/$proof" ;;
    rpc-compat)
      if [ -n "${EXECUTION_APIS:-}" ]; then
        EVM_CLIENT=geth bash "$here/evm/server.sh" install "$w/geth"
        "$w/py/bin/python" "$here/prove/rpc_compat.py" "$EXECUTION_APIS" "$w/geth/bin/geth" "$w/rpc-compat"
      else
        echo "NOT RUN: EXECUTION_APIS names no checkout of ethereum/execution-apis, which has the tests"
      fi ;;
    clients)
      bash "$here/clients/install.sh" "$w/clients"
      "$w/py/bin/python" "$here/clients/prove.py" "$w/clients" ;;
    parts) "$w/py/bin/python" "$here/prove/parts.py" ;;
    disk) "$w/py/bin/python" "$here/prove/disk.py" ;;
    *) echo "no proof is called $proof" >&2; exit 2 ;;
  esac
done
