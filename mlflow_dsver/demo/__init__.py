"""The demo: the main job from beginning to end on real data, without an account and without the network.

`digits` writes the data, `train` is the training script as a user would write it, `story` runs the whole and tells
what happens. It is run by `mlflow-dsver demo`, which gives it a store and a tracking database of its own.
"""
