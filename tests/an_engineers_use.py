"""What an importing engineer writes: SMART in the Trainer, a soft prompt, h-accuracy with a feature of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import Dataset, concatenate_datasets  # type: ignore[import-untyped]

from course_lib.icl import Hypothesis, PrefixCachedScorer, UnderspecifiedPool, bias_table, measure_set
from course_lib.models import load_classifier, load_language_model
from course_lib.ppt import SoftPrompt, initialise
from course_lib.smart import SmartTrainer, SmartTrainingArguments
from course_lib.texts import load_texts, with_binary_labels


def train_with_smart(texts: Dataset, folder: str) -> SmartTrainer:
    """Fine-tune the embedded encoder with SMART for two steps."""
    classifier = load_classifier(num_labels=2)
    encoded = classifier.tokenizer(list(texts["text"]), padding=True, truncation=True, max_length=64)
    rows = Dataset.from_dict({**encoded, "labels": texts["label"]})
    arguments = SmartTrainingArguments(folder, max_steps=2, epsilon=0.05, report_to=[], save_strategy="no")
    trainer = SmartTrainer(model=classifier.model, args=arguments, train_dataset=rows)
    trainer.train()
    return trainer


def ends_with_a_question(row: Mapping[str, Any]) -> int:
    """Give 1 for a question and 0 for anything else."""
    return int(str(row["text"]).rstrip().endswith("?"))


def main(folder: str) -> None:
    """Do all three on a few texts."""
    texts = with_binary_labels(concatenate_datasets([load_texts("tweets"), load_texts("movie")]))
    print("SMART:", train_with_smart(texts.select(range(16)), folder).state.log_history[-1])
    loaded = load_language_model()
    prompt: SoftPrompt = initialise("sample_vocab", loaded, num_virtual_tokens=4, seed=0)
    print("soft prompt:", prompt.num_virtual_tokens)
    question = Hypothesis(
        name="sentiment.question", task="sentiment", meanings=("no question", "question"),
        label=ends_with_a_question, columns=("text",), clauses=("it asks nothing", "it asks something"),
        label_words=("statement", "question"),
    )  # fmt: skip
    pool = UnderspecifiedPool(texts, "sentiment", question)
    rows = measure_set(PrefixCachedScorer(*loaded), pool, 0, num_demonstrations=4, test_size=8)
    print(bias_table(rows))


if __name__ == "__main__":
    main("out")
