"""A loop in PyTorch with metrics logged by hand and the model at its end."""

import mlflow
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
flowers = pd.read_csv("data/flowers.csv")
x = torch.tensor(flowers.drop(columns="species").to_numpy("float32"))
y = torch.tensor(flowers["species"].to_numpy())
loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

with mlflow.start_run():
    mlflow.log_params({"epochs": 5, "batch_size": 16, "optimizer": "Adam", "lr": 0.01})
    for epoch in range(5):
        total = 0.0
        for features, labels in loader:
            optimizer.zero_grad()
            loss = loss_function(model(features), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        mlflow.log_metric("loss", total / len(loader), step=epoch)
    with torch.no_grad():
        accuracy = (model(x).argmax(dim=1) == y).float().mean().item()
    mlflow.log_metric("accuracy", accuracy)
    torch.save(model.state_dict(), "model.pt")
    mlflow.log_artifact("model.pt")
print("trained for 5 epochs")
