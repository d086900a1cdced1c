"""What every Millrace process shares: settings, health, the control plane, metrics, logs, Kafka's identity."""
