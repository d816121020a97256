"""Lightning with MLFlowLogger, which makes its run by MlflowClient and keeps the run's id."""

import os

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.loggers import MLFlowLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Flowers(L.LightningDataModule):
    def setup(self, stage):
        flowers = pd.read_csv("data/flowers.csv").sample(frac=1, random_state=0)
        x = torch.tensor(flowers.drop(columns="species").to_numpy("float32"))
        y = torch.tensor(flowers["species"].to_numpy())
        self.train, self.valid = TensorDataset(x[:120], y[:120]), TensorDataset(x[120:], y[120:])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=16)

    def val_dataloader(self):
        return DataLoader(self.valid, batch_size=30)


class Classifier(L.LightningModule):
    def __init__(self, hidden: int = 16, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


L.seed_everything(0, verbose=False)
logger = MLFlowLogger(
    experiment_name=os.environ["MLFLOW_EXPERIMENT_NAME"],
    tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
    log_model=True,
)
trainer = L.Trainer(max_epochs=3, logger=logger, accelerator="cpu", log_every_n_steps=2, enable_progress_bar=False)
trainer.fit(Classifier(), datamodule=Flowers())
print("epochs:", trainer.current_epoch)
