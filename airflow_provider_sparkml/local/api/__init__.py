"""The Kubernetes HTTP API of the local cluster, one module per idea."""
