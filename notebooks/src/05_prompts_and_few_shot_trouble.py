# %% [markdown]
# # Prompts, verbalizers and few-shot trouble
#
# So far every task changed all weights of a model. A **soft prompt** changes none: a few rows of numbers stand in front
# of the text, and only they are trained. How does that work, and what goes wrong when there are few examples?
#
# **After this lesson you can**
# - say what pre-training, full-model tuning and prompt tuning each train and store;
# - put a soft prompt in front of a text by hand, and see that the gradient reaches it alone;
# - say what label words, a prompt's start and words around it are worth with 32 examples.
#
# Time on two CPU cores: 2 minutes, of which tuning takes most

# %%
import tempfile
from pathlib import Path

import pandas as pd
import torch

from course_lib import models, plotting, ppt, runs
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import ppt as figures
from course_lib.prompts.verbalizers import Verbalizer

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## Three ways to train
#
# | | what is trained | on what | how often |
# | --- | --- | --- | --- |
# | **pre-training** | every weight | plain text, no labels | once |
# | **full-model tuning** | every weight | the labelled examples of a task | once a task |
# | **prompt tuning** | the rows of a soft prompt | the labelled examples of a task | once a task |
#
# **Predict before you run.** The model below has 134.5 million weights. A soft prompt has 20 rows, each as wide as a word
# embedding, 576 numbers. How many prompts fit into the space of one tuned model?

# %%
language_model = models.load_language_model("embedded")
model, tokenizer = language_model
prompt = ppt.initialise("sample_vocab", language_model, 20, seed=0)
folder = prompt.save(Path(tempfile.mkdtemp()) / "prompt", language_model)
trained = {"full-model tuning": model.num_parameters(), "prompt tuning": prompt.embeddings.numel()}
stored = pd.DataFrame({"numbers trained": trained})
stored["bytes a task, float32"] = 4 * stored["numbers trained"]
print("files of a prompt:", ", ".join(sorted(file.name for file in folder.iterdir())))
stored.style.format("{:,}")

# %% [markdown]
# More than eleven thousand. A hundred tasks are a hundred small files beside *one* model, and one server can answer all
# of them in one batch. The files are a PEFT adapter: PEFT loads them as they are.
#
# ## A soft prompt by hand
#
# A model turns each token into a row of its embedding table, then works on rows. Nothing says that a row must belong to a
# token. So we put $P$ rows of our own in front of the $T$ rows of a text, and run the model on $P + T$ rows.

# %%
text = "A film of rare warmth. All in all, it was"
ids = torch.tensor([tokenizer(text).input_ids])
words = model.get_input_embeddings()(ids)                      # 1 × T × 576
rows = torch.cat([prompt.embeddings[None], words], dim=1)      # 1 × (P + T) × 576
logits = model(inputs_embeds=rows).logits[0, -1]               # what may come next: one number a token
print(f"rows of the prompt {len(prompt.embeddings)}, of the text {words.shape[1]}; logits {tuple(logits.shape)}")

# %% [markdown]
# The answer is read off at the last row. A **verbalizer** names a word for each label: here "bad" for 0, "good" for 1.
# Only these two compete. With $z_w$ the logit of the word $w$, the loss of the right label $y$ is
#
# $$L = -\log \frac{e^{z_y}}{e^{z_{\text{bad}}} + e^{z_{\text{good}}}} .$$
#
# **Predict before you run.** Most of the 49,152 words of the vocabulary could stand here, "a" and "the" above all. Does it
# matter for $L$ how probable *they* are?

# %%
verbalizer = Verbalizer(["bad", "good"])
label_ids = verbalizer.token_ids(tokenizer, text)
of_labels = logits[[tokens[0] for tokens in label_ids.labels]]
by_hand = -of_labels.log_softmax(dim=0)[1]
batch = ppt.make_label_batch([label_ids])
by_library = ppt.label_loss(ppt.label_scores(model, prompt, batch), torch.tensor([1]))
print(f"loss for 'good': by hand {by_hand.item():.6f}, by library {by_library.item():.6f}")

# %% [markdown]
# It does not: what all words share cancels. Score the label words alone, and say so. If any word counts as an answer,
# an untuned prompt that says "a" looks far worse than it is.
#
# **Where does the gradient go?** We freeze the model, as prompt tuning does, and go backward.

# %%
model.requires_grad_(False)
ppt.label_loss(ppt.label_scores(model, prompt, batch), torch.tensor([1])).backward()
reached = [name for name, weight in model.named_parameters() if weight.grad is not None]
print(f"weights of the model with a gradient: {len(reached)}")
print(f"rows of the prompt with one: {int((prompt.embeddings.grad.norm(dim=1) > 0).sum())} of {len(prompt.embeddings)}")
model.requires_grad_(True)

# %% [markdown]
# The gradient passes *through* all thirty layers, and stays in the rows in front.
#
# ## Patterns in three kinds
#
# A **pattern** says how an example is written. A *hard* pattern has words, a *soft* one has only the prompt, a *hybrid*
# has both. `{soft}` marks the place of the prompt's rows.

# %%
example = {"text": "A film of rare warmth."}
patterns = {kind: ppt.find_pattern("single", kind) for kind in ("hard", "soft", "hybrid")}
pd.DataFrame(
    {kind: {"template": pattern.template, "written": pattern.text(example)} for kind, pattern in patterns.items()}
).T

# %% [markdown]
# The seminar shows Korean examples, one for each format: a pair, "I went home and had a meal" and "Back at home I ate",
# of which the second follows from the first; a question with options, "Which of the following is no member of the band?"
# (with invented names); and a sentence, "This story is truly gripping!", with what a viewer felt. As patterns they are no
# different; only our small model has read too little Korean to be asked.

# %%
korean = {
    "pair": ppt.Pattern("korean/pair", "{soft}첫째: {first}\n둘째: {second}\n두 문장은 서로 이어지나요? 답:", Verbalizer(["네", "아마", "아니요"])),
    "choice": ppt.Pattern("korean/choice", "{soft}{query}\n{options}\n정답:", Verbalizer(list("ABCDEF"))),
    "single": ppt.Pattern("korean/single", "{soft}{text} 한마디로 말하면", Verbalizer(["별로다", "최고다"])),
}
examples = {
    "pair": {"first": "집에 가서 밥을 먹었다.", "second": "귀가 후 식사를 했다."},
    "choice": {"query": "다음 중 밴드 '새벽우체국'의 멤버가 아닌 사람은?", "options": ["도윤재", "한서리", "문가람", "백이든", "오하늬", "류다온"]},
    "single": {"text": "이거 진짜 스토리가 흥미진진!"},
}

# %%
written = {name: pattern.text(examples[name]) for name, pattern in korean.items()}
counts = {name: (len(text), len(tokenizer(text).input_ids)) for name, text in written.items()}
print(*written.values(), sep="\n\n")
pd.DataFrame(counts, index=["characters", "tokens of this model"])

# %% [markdown]
# More tokens than characters: the tokenizer takes Korean apart into bytes, and the model has hardly ever seen them.
#
# ## With many examples prompt tuning is fine. With few?
#
# The authors of pre-trained prompt tuning began with a pilot: four things to try when prompt tuning has only 32 examples.
#
# | finding of the pilot | what is varied here |
# | --- | --- |
# | the choice of the label words matters much | four pairs of words, one of them swapped |
# | starting the prompt from word embeddings does not help | random rows, rows of random words, rows of a sentence |
# | words beside the soft prompt help (hybrid) | the prompt alone, and two wordings |
# | with much data prompt tuning keeps up, with little it does not | 32 and many examples, against full-model tuning |
#
# ### One of them, live: label words
#
# The task is the sentiment of movie review sentences. Each run trains a soft prompt on 32 sentences and looks at 32 others
# to choose its best step. The test sentences are read once, at the end.
#
# **Predict before you run.** The words "good" for *negative* and "bad" for *positive* are as easy to tell apart as the right
# way round, and training may move the prompt as it likes. Will the swapped pair end up as good?

# %%
variants = ppt.pilot_variants(profile.size("pilot.num_full"), profile.size("pilot.full_updates"))
chosen = [variant for variant in variants if variant.name in ("bad/good", "no/yes", "good/bad")]
sizes = {name: profile.size(f"fewshot.{name}") for name in ("num_updates", "batch_size", "num_development", "num_test")}
live = [
    ppt.pilot_run(
        variant.method, 0, 5e-3, variant.options, **sizes, loaded=language_model, progress=True
    )[0]
    for variant in chosen
]
columns = ["variant", "train_loss", "development_accuracy", "accuracy", "median_accuracy"]
pd.DataFrame(ppt.pilot_rows(live, chosen))[columns].round(3)

# %% [markdown]
# `accuracy` compares the two words as they are. `median_accuracy` puts the threshold at the median of the test scores: it
# tells a prompt that *ranks* the sentences well, but leans to one word, from one that does not know.
#
# One seed proves little: 32 sentences are drawn by it, and so is the start of the prompt.
#
# ### All four, at full size
#
# The reference result repeats every variant over several seeds (`course reference ppt_pilot`), at learning rates chosen
# once a method on development examples (`course reference tuning_search`). Hollow dots are single runs. All seeds share
# one set of test sentences: the intervals say how much runs differ, and nothing of other test sentences.

# %%
pilot = runs.load_record("ppt_pilot").table()
plotting.show(
    figures.pilot_figure(pilot),
    caption=f"{figures.pilot_sentence(pilot)} All runs: the same {runs.load_record('ppt_pilot').settings['num_test']} test sentences.",
    alt="Four panels, one a finding, with the test accuracy of each variant: its mean with an interval, and every run as "
    "a hollow dot. Runs of one variant lie as far apart as the variants' means.",
)

# %% [markdown]
# Runs of one variant scatter over many points, so a difference of two means says little. Every seed, however, gives all
# variants the *same* examples. The **paired** difference, seed by seed, takes away what they share.

# %%
differences = ppt.pilot_differences(pilot)
figures.pilot_table(differences)

# %% [markdown]
# A star marks an interval that leaves out 0. With this many comparisons one in twenty is luck.
#
# ### The trouble with few examples
#
# What do the runs do on the examples that they are trained on, and on others?

# %%
columns = ["train_loss", "development_accuracy", "accuracy"]
pilot[pilot.finding.str.endswith("examples")].groupby(["finding", "variant"], sort=False)[columns].mean().round(3)

# %% [markdown]
# ### What it shows
#
# **Label words decide.** "bad/good" and "terrible/great" do well. "no/yes" and the swapped pair stay near a coin's toss:
# what words mean is settled in the frozen model, and 32 examples do not turn it round.
#
# **The start hardly matters.** Random rows, rows of random words and rows of a sentence end at the same place. Word
# embeddings are no better a beginning than noise of the right size.
#
# **Words beside the prompt help, much.** "It was" tells the model what is asked; the soft rows alone have to find that out
# from 32 examples, and fit these long before they do.
#
# **Few examples are the trouble.** With many, prompt tuning comes nearer to full-model tuning; with few, it is far behind
# on the test sentences, and not because it fits its training examples badly.
#
# All four are what the paper found, on a model eighty times as large. One thing differs: a good pattern nearly closes the
# gap here. This model was tuned to follow instructions, and sentiment is easy for it.
#
# ## Exercises
#
# ### 1. What is stored
#
# Each of `num_tasks` tasks has a prompt of its own, in float32.

# %% exercise="05.stored_bytes"
def stored_bytes(num_virtual_tokens, width, num_tasks):
    """Give the bytes that the soft prompts of all tasks take."""
    # solution
    return 4 * num_virtual_tokens * width * num_tasks
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# A number of 32 bits has four bytes.
#
# </details>

# %%
exercises.check("05.stored_bytes", stored_bytes)

# %% [markdown]
# ### 2. In front of a batch
#
# `prompt` is an array [P, W], `embeddings` [B, T, W] holds the word embeddings of B texts.

# %% exercise="05.prepend"
import numpy as np

def prepend(prompt, embeddings):
    """Give the rows of every text with the prompt in front, an array [B, P + T, W]."""
    # solution
    front = np.broadcast_to(prompt, (len(embeddings), *prompt.shape))
    return np.concatenate([front, embeddings], axis=1)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Every text gets its own copy of the prompt. `np.broadcast_to` makes copies without copying.
#
# </details>

# %%
exercises.check("05.prepend", prepend)

# %% [markdown]
# ### 3. Where the answer is read
#
# `attention_mask` [B, T] is 1 for the tokens of a text, which stand on the left, and 0 for what fills the row up.
# Columns count from 0, and the virtual tokens have the first of them.

# %% exercise="05.answer_column"
def answer_column(attention_mask, num_virtual_tokens):
    """Give the column of each row's last token, the virtual tokens in front counted, an array [B]."""
    # solution
    return num_virtual_tokens + attention_mask.sum(axis=1) - 1
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many tokens has each text, and how many columns stand before them?
#
# </details>

# %%
exercises.check("05.answer_column", answer_column)

# %% [markdown]
# ### 4. The loss over label words
#
# `logits` [V] says what may come next, `label_ids` holds the token of each label's word, and `label` is the number of
# the right label, from 0 on. The logarithm is the natural one, so the loss is a number in nats. Logits may be as large
# as 1,000.

# %% exercise="05.answer_loss"
from scipy.special import log_softmax

def answer_loss(logits, label_ids, label):
    """Give the cross-entropy of the right label, over the label words and nothing else."""
    # solution
    return -log_softmax(logits[label_ids])[label]
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Throw away all other logits first. And `np.exp` of 1,000 overflows: start from `log_softmax`.
#
# </details>

# %%
exercises.check("05.answer_loss", answer_loss)

# %% [markdown]
# ### 5. A start where words are
#
# `noise` [P, W] is drawn from N(0, 1). Real word embeddings, the rows of `table` [V, W], are much smaller, and each column
# has a mean and a spread of its own.
#
# The standard deviation is that of all rows (`ddof=0`, as `std` does by itself).

# %% exercise="05.random_rows"
def random_rows(table, noise):
    """Give rows whose columns have the mean and the standard deviation of the table's, an array [P, W]."""
    # solution
    return table.mean(axis=0) + table.std(axis=0) * noise
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Work column by column: `axis=0`.
#
# </details>

# %%
exercises.check("05.random_rows", random_rows)

# %% [markdown]
# ## What the paper says, and what we measured

# %%
verdict = figures.pilot_verdict(differences)
print("Paper: label words matter much; word embeddings as a start do not help; hybrid prompts help; none cures few-shot.")
print("Measured, in points against the first variant: " + verdict)
headline(figures.pilot_sentence(pilot).partition(";")[0] + ".")
