"""Apache Airflow provider for Spark and machine learning on Kubernetes."""

__version__ = "0.1.0"
