"""Spark's MLlib under autologging: a pipeline, then a cross validation over a grid with a child run for each."""

import logging

import mlflow
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import SparkSession

logging.getLogger("mlflow").setLevel(logging.ERROR)
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.shuffle.partitions", "1")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")
mlflow.pyspark.ml.autolog(log_models=False)

flowers = spark.read.csv("data/flowers.csv", header=True, inferSchema=True).withColumnRenamed("species", "label")
features = VectorAssembler(inputCols=[name for name in flowers.columns if name != "label"], outputCol="features")
regression = LogisticRegression(maxIter=3)

with mlflow.start_run(run_name="pipeline"):
    Pipeline(stages=[features, regression]).fit(flowers)

grid = ParamGridBuilder().addGrid(regression.regParam, [0.0, 0.1, 1.0]).build()
search = CrossValidator(
    estimator=regression,
    estimatorParamMaps=grid,
    evaluator=MulticlassClassificationEvaluator(metricName="accuracy"),
    numFolds=2,
    seed=0,
)
with mlflow.start_run(run_name="search"):
    best = search.fit(features.transform(flowers))
print("candidates:", len(best.avgMetrics))
spark.stop()
