"""The provider of MLflow's evaluation datasets keeps the contract of providers, with real ones in SQLite."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.evaluation.provider import EvaluationDatasetProvider
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract

pytestmark = [
    pytest.mark.skipif(int(mlflow.__version__.partition(".")[0]) < 3, reason="MLflow 2 has no evaluation datasets"),
    pytest.mark.filterwarnings("ignore"),  # those of MLflow's own code
]


class TestEvaluationDatasets(ProviderContract):
    @pytest.fixture
    def questions(
        self, empty_database: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> Any:
        database = shutil.copyfile(empty_database, tmp_path_factory.mktemp("mlflow") / "mlflow.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        made = importlib.import_module("mlflow.genai.datasets").create_dataset(name="questions")
        made.merge_records([{"inputs": {"question": "ü"}, "expectations": {"answer": 1.5}}])
        return made

    @pytest.fixture
    def provider(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Provider:
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
        return EvaluationDatasetProvider()

    @pytest.fixture
    def known(self, provider: Provider, questions: Any) -> Known:
        self.questions = questions
        old = provider.create(questions.dataset_id, tags=("clean",))
        questions.merge_records([{"inputs": {"question": "second"}}])
        new = provider.create(questions.dataset_id)
        return Known(questions.dataset_id, (new.id, old.id), tag=("clean", old.id))

    def make(self, provider: Provider, dataset: str, folder: Path, **words: Any) -> DatasetVersion:
        self.questions.merge_records([{"inputs": {"question": folder.name}}])
        return provider.create(dataset, **words)
