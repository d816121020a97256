"""A dense network in Keras 3, logged by MLflow's callback, then another under autologging."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import mlflow
import pandas as pd

keras.utils.set_random_seed(0)
flowers = pd.read_csv("data/flowers.csv")
x, y = flowers.drop(columns="species").to_numpy("float32"), flowers["species"].to_numpy()


def network():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


with mlflow.start_run(run_name="callback"):
    network().fit(x, y, epochs=3, batch_size=32, verbose=0, callbacks=[mlflow.keras.MlflowCallback()])

mlflow.keras.autolog(log_models=False)
history = network().fit(x, y, epochs=2, batch_size=32, verbose=0)
print("epochs:", len(history.history["loss"]))
