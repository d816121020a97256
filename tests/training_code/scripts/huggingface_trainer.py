"""A tiny BERT, made from its configuration, trained by Hugging Face's Trainer with report_to="mlflow"."""

import pandas as pd
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

set_seed(0)
flowers = pd.read_csv("data/flowers.csv")
words = flowers.drop(columns="species").mul(10).round().astype(int).to_numpy().tolist()
dataset = Dataset.from_dict({"input_ids": words, "labels": flowers["species"].tolist()}).train_test_split(0.2, seed=0)

config = BertConfig(
    vocab_size=100,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=8,
    num_labels=3,
)
arguments = TrainingArguments(
    output_dir="out",
    num_train_epochs=2,
    per_device_train_batch_size=16,
    eval_strategy="epoch",
    save_strategy="no",
    logging_steps=5,
    learning_rate=1e-2,
    run_name="tiny-bert",
    report_to="mlflow",
    disable_tqdm=True,
    use_cpu=True,
    seed=0,
)
trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=arguments,
    train_dataset=dataset["train"],
    eval_dataset=dataset["test"],
)
trainer.train()
print("steps:", trainer.state.global_step)
