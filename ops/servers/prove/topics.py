"""Topics as a foreign consumer (confluent-kafka) reads them."""
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

BROKER = "127.0.0.1:9092"


def read_committed(topic, key=bytes.decode):
    """Every committed record of a topic with one partition, in order: key (text, or what `key` makes of it), headers, value."""
    consumer = Consumer({"bootstrap.servers": BROKER, "group.id": f"proof-{time.time()}", "enable.auto.commit": False,
                         "isolation.level": "read_committed", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    records = []
    while True:
        message = consumer.poll(30)
        assert message is not None, f"{topic}: nothing"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            consumer.close()
            return records
        headers = {name: value.decode() for name, value in message.headers() or []}
        records.append((key(message.key()), headers, message.value()))
