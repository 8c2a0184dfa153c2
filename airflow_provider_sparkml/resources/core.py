"""Addresses of the types of Kubernetes itself: pods, services, deployments and the others that jobs are made of."""

from __future__ import annotations

from airflow_provider_sparkml.resources.base import ApiResource

NAMESPACE = ApiResource("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = ApiResource("", "v1", "nodes", "Node", namespaced=False)
POD = ApiResource("", "v1", "pods", "Pod")
SERVICE = ApiResource("", "v1", "services", "Service")
CONFIG_MAP = ApiResource("", "v1", "configmaps", "ConfigMap")
SECRET = ApiResource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNT = ApiResource("", "v1", "serviceaccounts", "ServiceAccount")
PERSISTENT_VOLUME_CLAIM = ApiResource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
EVENT = ApiResource("", "v1", "events", "Event")
DEPLOYMENT = ApiResource("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = ApiResource("apps", "v1", "statefulsets", "StatefulSet")
ROLE = ApiResource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING = ApiResource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
