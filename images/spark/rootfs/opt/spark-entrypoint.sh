#!/bin/sh
# Starts what Spark's Kubernetes code asks a container for: `driver …`, `executor`, or any other command as it is.
# Variables named SPARK_* and PYSPARK_* are set by Spark on the pods it makes.
set -eu

# Spark lives inside the Python package, wherever that is: in the image, or in the local cluster's environment.
python=$(command -v python)
for SPARK_HOME in "$(dirname "$(dirname "$python")")"/lib/python3*/site-packages/pyspark; do :; done
export SPARK_HOME
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-python}"
export PYSPARK_DRIVER_PYTHON="${PYSPARK_DRIVER_PYTHON:-$PYSPARK_PYTHON}"
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"

classpath="${SPARK_CONF_DIR:+$SPARK_CONF_DIR:}$SPARK_HOME/jars/*"
[ -z "${HADOOP_CONF_DIR:-}" ] || classpath="$HADOOP_CONF_DIR:$classpath"
[ -z "${SPARK_EXTRA_CLASSPATH:-}" ] || classpath="$SPARK_EXTRA_CLASSPATH:$classpath"
[ -z "${SPARK_DIST_CLASSPATH:-}" ] || classpath="$classpath:$SPARK_DIST_CLASSPATH"

case "${1:-}" in
driver)
  shift
  # The pod's own address, since a pod's name may not be resolvable where executors run.
  exec "$SPARK_HOME/bin/spark-submit" \
    --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
    --conf "spark.driver.host=$SPARK_DRIVER_BIND_ADDRESS" \
    --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" \
    --deploy-mode client "$@"
  ;;
executor)
  set -- -Xms"$SPARK_EXECUTOR_MEMORY" -Xmx"$SPARK_EXECUTOR_MEMORY" -cp "$classpath" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" \
    --executor-id "$SPARK_EXECUTOR_ID" \
    --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" \
    --hostname "$SPARK_EXECUTOR_POD_IP" \
    --bind-address "$SPARK_EXECUTOR_POD_IP" \
    --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
    --podName "$SPARK_EXECUTOR_POD_NAME"
  # SPARK_JAVA_OPT_0, _1, … are one option each, in that order, and may hold spaces.
  count=0
  while eval "[ -n \"\${SPARK_JAVA_OPT_$count+x}\" ]"; do count=$((count + 1)); done
  while [ "$count" -gt 0 ]; do
    count=$((count - 1))
    eval "set -- \"\$SPARK_JAVA_OPT_$count\" \"\$@\""
  done
  exec "$java" "$@"
  ;;
*)
  exec "$@"
  ;;
esac
