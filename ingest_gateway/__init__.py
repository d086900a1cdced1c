"""The ingest gateway: OTLP over gRPC and HTTP in, Avro records on Kafka out, answered after Kafka's acknowledgement.

grpc_front ─┐                      ┌─ schemas.otlp.transcode
http_front ─┴▶ batcher ─▶ handler ─┴─ publisher ─▶ Kafka
"""
