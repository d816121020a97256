"""Lightning under MLflow's autologging for PyTorch."""

import lightning as L
import mlflow
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02)


mlflow.pytorch.autolog(log_models=False)
L.seed_everything(0, verbose=False)
flowers = pd.read_csv("data/flowers.csv")
x = torch.tensor(flowers.drop(columns="species").to_numpy("float32"))
y = torch.tensor(flowers["species"].to_numpy())
trainer = L.Trainer(
    max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
)
with mlflow.start_run(run_name="lightning"):
    trainer.fit(Classifier(), DataLoader(TensorDataset(x, y), batch_size=32))
print("epochs:", trainer.current_epoch)
