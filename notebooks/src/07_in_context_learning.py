# %% [markdown]
# # In-context learning
#
# A language model is shown a few labelled examples in its prompt and asked for the next label. No weight changes.
# What does it take from the examples, and how do you read off its answer?
#
# **After this lesson you can**
# - say what a prompt is made of, and score a label word by hand from logits;
# - see that a model prefers one label whatever the text says, and take that preference out without any label;
# - say why a thousand test items behind one shared prefix cost little.
#
# Time on two CPU cores: 3 minutes, of which scoring takes most

# %%
import time
from itertools import product

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from course_lib import icl, models, plotting, runs, texts
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import icl as figures

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## A review, and no example
#
# We show the model a real sentence of a movie review. We want its label: 1 if the review is positive, 0 if it is
# negative. A prompt without any example is called **zero-shot**. Often it says in words what to do; this one does not.
#
# **Predict before you run.** The prompt ends in "Label:". How will the model go on?

# %%
scorer = icl.find_scorer("embedded")
language_model = models.ModelAndTokenizer(scorer.model, scorer.tokenizer)
pool, heldout = texts.labelled_splits("movie", num_heldout=profile.size("context.num_items"))
review = heldout[0]

template, verbalizer = icl.InstanceTemplate(), icl.Verbalizer(["0", "1"])
prompt = icl.DemonstrationPrompt(template, verbalizer, zero_shot=True)
zero_shot = prompt.prefix([], []) + prompt.item(review)
print(zero_shot + models.complete(language_model, zero_shot, max_new_tokens=12))

# %% [markdown]
# It writes on, as a language model does. Whatever it says need not be a label at all.
#
# ### The same review, and four examples
#
# A **demonstration** is an example with its label. With some of them in the prompt the task is called **few-shot**.
#
# **Predict before you run.** Four demonstrations stand before the review now. What do they teach the model first: what
# a label *means*, or what a label *looks like*?

# %%
prompt = icl.DemonstrationPrompt(template, verbalizer)
shown = texts.sample_texts(pool, 4, seed=0)
prefix, item = prompt.prefix(list(shown), shown["label"][:]), prompt.item(review)
few_shot = prefix + item
print(few_shot + models.complete(language_model, few_shot, max_new_tokens=2))

# %%
prompts = {"no demonstration": zero_shot, "4 demonstrations": few_shot}
expected = {
    name: models.next_token_probabilities(language_model, text, num_tokens=6)
    for name, text in prompts.items()
}
plotting.show(
    figures.next_token_figure(expected),
    caption=figures.next_token_sentence(expected),
    alt="Bars for the six most probable next tokens, without and with demonstrations. Without any "
    "they are words that begin a sentence; with four nearly all lies on one token, a space.",
)

# %% [markdown]
# What a label looks like. Behind "Label:" comes a space, says the format of the examples, and the tokenizer of this
# model writes " 0" as two tokens, a space and "0". Whether the *meaning* got across is a harder question, and most of
# this lesson.
#
# ## What a prompt is made of
#
# | part | what it is | here |
# | --- | --- | --- |
# | instruction | a sentence that says what to do; may be left out | none |
# | template | how an example is written | `Input: {text} Label:` |
# | verbalizer | the word that stands for each label | 0 and 1 |
# | demonstrations | examples, each with its label word | 4, two of each label |
# | item | the example to be labelled, up to where its label would stand | the review |
#
# Instruction and demonstrations are the **prefix**, the same for every item. How many tokens does each part take?

# %%
question = "Is this film review positive? Answer 1 for yes and 0 for no."
instructed = icl.DemonstrationPrompt(template, verbalizer, instruction=question)
longer = icl.prompt_ids(scorer.tokenizer, instructed.prefix(list(shown), shown["label"][:]), [item])
ids = icl.prompt_ids(scorer.tokenizer, prefix, [item])
pd.DataFrame(
    {
        "part": ["4 demonstrations", "item", "an instruction would add"],
        "tokens": [len(ids.prefix), len(ids.items[0]), len(longer.prefix) - len(ids.prefix)],
    }
).style.hide()

# %% [markdown]
# ## A label's score, by hand
#
# Do not wait for what the model says; ask how probable each label word is. A model gives a logit for every token of its
# vocabulary, and log-softmax turns these into log-probabilities. A label of several tokens $y_1, y_2, \dots$ has
#
# $$\log p(y \mid x) = \sum_t \log p(y_t \mid x, y_1, \dots, y_{t-1}).$$
#
# Each token is read off at the position *before* it. First the tokens of the two labels:

# %%
context, labels = verbalizer.token_ids(scorer.tokenizer, few_shot)
print([[scorer.tokenizer.decode([token]) for token in label] for label in labels])

# %%
zero, one = labels
with torch.no_grad():
    logits = scorer.model(torch.tensor([context + zero[:-1]])).logits[0]
at_space, at_digit = logits.log_softmax(dim=-1)[-2:]
by_hand = [(at_space[label[0]] + at_digit[label[1]]).item() for label in labels]
by_library = scorer.log_probabilities(prefix, [item], prompt.continuations, progress=False)[0]
wrong_place = [at_space[label[0]].item() for label in labels]
print("by hand         ", np.round(by_hand, 3))
print("by library      ", by_library.round(3))
print("first token only", np.round(wrong_place, 3))

# %% [markdown]
# The last line is a trap. The first token of both labels is the same space, so whoever compares "the first token of the
# word" finds a tie on every item, and the same answer to everything.
#
# ### Exercise 1: the log-probability of a label
#
# Row `t` of `log_probabilities` holds what the model expects as the label's t-th token, its earlier tokens read. The
# logarithms are natural ones.

# %% exercise="07.label_log_probability"
def label_log_probability(log_probabilities, token_ids):
    """Give the log-probability of the whole label; the table is [T, V], its tokens are [T]."""
    # solution
    return np.sum(log_probabilities[np.arange(len(token_ids)), token_ids])
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# One entry from each row. Probabilities are multiplied; what happens to their logs?
#
# </details>

# %%
exercises.check("07.label_log_probability", label_log_probability)

# %% [markdown]
# ### Exercise 2: which label?
#
# Here every label is one token. `logits` [V] is what the model expects next, `label_ids` the token of each label.
#
# Of equal logits the first label counts.

# %% exercise="07.choose_label"
def choose_label(logits, label_ids):
    """Give the number of the most probable label."""
    # solution
    return int(np.argmax(logits[label_ids]))
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# The most probable token of all may be no label (" The", above). And the answer is label 0 or 1, not token 4711.
#
# </details>

# %%
exercises.check("07.choose_label", choose_label)

# %% [markdown]
# ## The model has a favourite
#
# Now 16 demonstrations, eight of each label, and more reviews.
#
# **Predict before you run.** Half of the reviews below are positive. To how many of them will the model say 1?

# %%
shown = texts.sample_texts(pool, 16, seed=0)
prefix = prompt.prefix(list(shown), shown["label"][:])
items = [prompt.item(row) for row in heldout]
true_labels = np.array(heldout["label"][:])
scores = scorer.log_probabilities(prefix, items, prompt.continuations)
raw = icl.decide(scores)
print(f"answers of label 1: {100 * raw.predictions.mean():.0f} % of {len(items)}; "
      f"accuracy {(raw.predictions == true_labels).mean():.3f}")

# %% [markdown]
# An accuracy near one half does not mean that the model sees nothing: a model that says the same to everything has
# exactly one half here. Two remedies take such a preference out, and neither looks at a label.
#
# **Contextual calibration** (Zhao et al. 2021) asks what the model says to an item that says nothing ("N/A", an empty
# text, "[MASK]"), and divides by it: $s_y = p(y \mid x)\,/\,p(y \mid \text{no content})$. A small example, by hand and
# by library:

# %%
p, p_content_free = np.array([[0.3, 0.7]]), np.array([[0.2, 0.8]])
by_hand = p / p_content_free
by_library = icl.contextual_scores(np.log(p), np.log(p_content_free))
print("by hand", by_hand.round(3), "by library", by_library.round(3))
print("raw answer:", p.argmax(), " calibrated answer:", by_hand.argmax())

# %% [markdown]
# The decision flips: 0.7 is a lot, but the model gives 0.8 to nothing at all.
#
# **A median threshold** looks at the **log-odds** $\log p(1 \mid x) - \log p(0 \mid x)$ of all test items, and says 1
# above their median. It uses the test *inputs*, all at once, but never their *labels*; and it takes for granted that
# about half of the items belong to each label. So it cannot answer a single review on its own.

# %%
without_content = [prompt.item(row) for row in icl.content_free_rows(template)]
content_free = scorer.log_probabilities(prefix, without_content, prompt.continuations, False)
answers = {
    "raw": raw.predictions,
    "contextual calibration": icl.decide(scores, "contextual", content_free).predictions,
    "median threshold": icl.decide(scores, "median").predictions,
}

# %% [markdown]
# All three are thresholds on the same log-odds: raw answers have theirs at 0, contextual calibration at the log-odds of
# no content, and the median threshold at the median.

# %%
log_odds = scores[:, 1] - scores[:, 0]
of_labels = np.exp(content_free) / np.exp(content_free).sum(axis=1, keepdims=True)
label_0, label_1 = of_labels.mean(axis=0)
thresholds = dict(zip(answers, (0.0, np.log(label_1 / label_0), np.median(log_odds)), strict=True))

# %%
figure, axes = plotting.panels(1, 1, width=8, height=3.4)
figures.log_odds(axes, log_odds, true_labels, thresholds, names=["negative", "positive"])
plotting.show(
    figure,
    caption=figures.decision_sentence(answers, true_labels)
    + f" Without content, label 1 has {100 * label_1:.0f} % of the two labels' probability.",
    alt="Histograms of the log-odds of label 1 for negative and for positive reviews, and three "
    "vertical lines: the thresholds of raw answers, at zero, of contextual calibration, and at the "
    "median of all reviews.",
)

# %% [markdown]
# Zero is no fair threshold for a model that leans to one side. Where the lines stand apart, the answers to the reviews
# between them hang on the choice of the line, and the two histograms are the same for all three.
#
# ### Exercise 3: contextual calibration
#
# `probabilities` [n, num_labels] are those of n items. The scores are plain ratios, and need not sum to 1.

# %% exercise="07.contextual_calibration"
def contextual_calibration(probabilities, content_free):
    """Give the scores, an array [n, num_labels]; content_free is [num_labels]."""
    # solution
    return probabilities / content_free
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# The example above must give 1.5 and 0.875.
#
# </details>

# %%
exercises.check("07.contextual_calibration", contextual_calibration)

# %% [markdown]
# ### Exercise 4: a threshold at the median
#
# The result is an array of whole numbers. An item exactly at the median gets 0.

# %% exercise="07.median_predictions"
def median_predictions(log_odds):
    """Give 1 for each item whose log-odds lie above the median of all, else 0; log_odds is [n]."""
    # solution
    return (log_odds > np.median(log_odds)).astype(int)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Compare the whole array at once, and turn truth values into whole numbers.
#
# </details>

# %%
exercises.check("07.median_predictions", median_predictions)

# %% [markdown]
# ## Do more demonstrations help?
#
# We measure accuracy behind more and more demonstrations, with several **sets** of them, each drawn anew. Within a set
# fewer demonstrations are the beginning of more. (Without demonstrations there is nothing to draw.)
#
# **Predict before you run.** What will grow more clearly with the number of demonstrations, the raw accuracy or the
# calibrated one? And how far will two sets of the same size lie apart?

# %%
num_sets, num_items = profile.size("context.num_sets"), profile.size("context.num_items")
settings = list(product(range(num_sets), profile.size("context.num_demonstrations")))
live = pd.DataFrame(
    [
        row
        for set_number, num_demonstrations in tqdm(settings, desc="runs")
        for row in icl.context_run(set_number, num_demonstrations, num_items=num_items)
    ]
)
columns = ["calibration", "num_demonstrations"]
live.pivot_table(index=columns, columns="set", values="accuracy", sort=False).round(3)

# %% [markdown]
# Your run is small. The reference result has more sets, more reviews and up to 64 demonstrations
# (`course reference context_accuracy`; its record is in `data/results/`). Filled markers with bars are its means and
# 95 % intervals over the sets; hollow markers are the means of your run. The demonstration set is the unit of the
# interval: all reviews of a set share its demonstrations, and its luck.

# %%
reference = runs.load_record("context_accuracy").table()
summary = icl.context_table(reference.to_dict("records"))
plotting.show(
    figures.context_figure(reference, live),
    caption=figures.context_sentence(summary),
    alt="Two panels over the number of demonstrations, with a line for raw answers, one for "
    "contextual calibration and one for the median threshold: accuracy with its intervals beside a "
    "line at one half, and the share of answers of label 1.",
)

# %% [markdown]
# Read both panels together. Where a line of panel (b) lies near 0 or 1, its accuracy in panel (a) is near one half
# whatever the model has understood. The favourite is not even fixed: behind few demonstrations it is label 1, behind many
# it is label 0, though the last demonstration has label 1 every time (the labels take turns). So no single threshold
# on the log-odds is right for all prompts, and contextual calibration, which asks three inputs without content, follows
# the drift only in part.
#
# ## Why the shared prefix makes it cheap
#
# All items stand behind the same prefix. A model that reads every prompt whole reads the demonstrations again for each.
# It need not: in a causal model a token looks only at what stands *before* it. So the keys and values that attention
# computes for the prefix are the same whatever item follows, and can be kept. How many tokens does that save?

# %%
ids = icl.prompt_ids(scorer.tokenizer, prefix, items)
prefix_tokens, item_tokens = len(ids.prefix), [len(tokens) for tokens in ids.items]
read_whole = len(items) * prefix_tokens + sum(item_tokens)
read_once = prefix_tokens + sum(item_tokens)

# %%
figure, axes = plotting.panels(1, 1, width=6.5, height=2.3)
figures.tokens_read(axes, prefix_tokens, item_tokens)
plotting.show(
    figure,
    caption=f"Prefix: {prefix_tokens} tokens; an item: {np.mean(item_tokens):.0f} on average. "
    f"{len(items)} reviews take {read_whole / read_once:.1f} times fewer tokens with it read once.",
    alt="Two bars of the tokens read. With whole prompts nearly all of the long bar is prefix, "
    "read again and again; with the prefix read once the bar is short.",
)

# %% [markdown]
# ### Exercise 5: tokens saved
#
# A whole prompt is the prefix and one item. The result is one factor for all n items, 1 where nothing is saved.

# %% exercise="07.shared_prefix_speedup"
def shared_prefix_speedup(prefix_tokens, item_tokens):
    """Give how many times fewer tokens are read with the prefix read once; item_tokens is [n]."""
    # solution
    total = np.sum(item_tokens)
    return (len(item_tokens) * prefix_tokens + total) / (prefix_tokens + total)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# What is the largest factor that you can get with ever more items? It is finite: every item has tokens of its own.
#
# </details>

# %%
exercises.check("07.shared_prefix_speedup", shared_prefix_speedup)

# %% [markdown]
# ### Timed, here and now
#
# Tokens are not time. Here a few reviews go through a scorer that reads whole prompts, and all of them through one that
# keeps the prefix. The second starts with nothing kept, so the time it takes to read the prefix is included.
#
# **Predict before you run.** Will the measured factor be as large as that of the tokens?

# %%
timed = items[: profile.size("context.num_timed")]
naive = icl.NaiveScorer(scorer.model, scorer.tokenizer)
cached = icl.PrefixCachedScorer(scorer.model, scorer.tokenizer)
start = time.perf_counter()
whole = naive.log_probabilities(prefix, timed, prompt.continuations)
after_whole = time.perf_counter()
behind_prefix = cached.log_probabilities(prefix, items, prompt.continuations)
after_cached = time.perf_counter()
difference = abs(whole - behind_prefix[: len(timed)]).max()

# %% tags=["timed"]
each_whole = (after_whole - start) / len(timed)
each_cached = (after_cached - after_whole) / len(items)
print(f"whole prompts:    {1000 * each_whole:5.0f} ms a review, over {len(timed)} reviews")
print(f"prefix read once: {1000 * each_cached:5.0f} ms a review, over {len(items)} reviews")
print(f"measured {each_whole / each_cached:.1f} times, by tokens {read_whole / read_once:.1f}")

# %%
verdict = "under" if difference < 1e-4 else "NOT under"
print(f"largest difference of a log-probability between the two: {verdict} 0.0001 nats")

# %% [markdown]
# The answers are the same. The two factors need not be: every token of an item still attends to the whole prefix, short
# rows use the processor less well than long ones, and a fixed price is paid for each call.
#
# ## What papers say, and what we measured
#
# The papers' models have up to 175 billion parameters; this one has 135 million. The reference result:

# %%
claims = figures.context_claims(summary)
print("\n\n".join(f"Paper: {claim}\nMeasured: {measured}" for claim, measured in claims))
headline(figures.context_headline(summary))

# %% [markdown]
# What did the model learn from its demonstrations, that these reviews are about *sentiment*? Or some other feature that
# goes with it? Accuracy cannot say. Lesson 08 measures that.
