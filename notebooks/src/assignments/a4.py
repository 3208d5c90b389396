# %% [markdown]
# # Assignment 4: In-context learning
#
# Five tasks, 20 marks, for one to two hours after lessons 07 to 09. Write each function where its cell says so.
#
# - Keep the functions' names. They are called with hidden inputs, by position, each within ten seconds. The whole notebook
#   with all calls takes at most sixty.
# - Cells run from top to bottom, once. A cell that fails does not stop the others. One that runs for more than ten seconds
#   is stopped; all together have thirty, and where they take more no task can be marked.
# - A function's result alone counts. It must be plain data: numbers, texts, lists, tuples, dictionaries, arrays.
#   Lists, tuples, arrays and tensors of the same values and shape count alike. Do not round: numbers are compared to nine
#   places.
# - You may import <<imports>>.
#   Anything else may be missing where the notebook is marked; what uses it there has no marks.
# - The lines under a task are examples, not the marking: a function that is right on them alone earns nothing.
# - A task earns its marks if it is right on all hidden inputs; the open task at the end earns them part by part.
# - NumPy is enough, and no model runs. What the course has of these tasks is not there when your notebook is marked.
#
# Your form: <<form>>. The hidden inputs are drawn anew for every marking.

# %%
import numpy as np

# %% [markdown]
# ## Task 1: choose_demonstrations (4 marks)
#
# A table holds the values of three features of $n$ texts, `h1`, `h2` and `h3`: arrays of shape $[n]$ with 1, 0, or −1
# where the feature does not apply. `document` holds the number of each text's document, $[n]$.
#
# Choose demonstrations for a prompt: <<choose_demonstrations.rule>>.
#
# Write `choose_demonstrations(h1, h2, h3, document, num_each)`:
#
# - Go through the table once from top to bottom, and take each row that is still wanted.
# - Rows to which one of the three features does not apply are left out, and so are rows of a document that a row was
#   taken from.
# - Return `{"rows": ..., "labels": ...}`, two lists: the numbers of the rows, counted from 0, and their labels. Labels
#   take turns, 1 first; rows of one label stand in the order of the table.
# - Return `None` if the table holds too few rows.

# %% exercise="a4.choose_demonstrations"
def choose_demonstrations(h1, h2, h3, document, num_each):
    """Choose demonstrations from a table of features; None if there are too few."""
    # solution
    wanted, used, chosen = <<choose_demonstrations.quota>>, set(), {1: [], 0: []}
    for row, (first, second, third) in enumerate(zip(h1, h2, h3)):
        kind = <<choose_demonstrations.cell>>
        if -1 not in (first, second, third) and wanted.get(kind) and document[row] not in used:
            wanted[kind] -= 1
            used.add(document[row])
            chosen[first].append(row)
    rows = [row for pair in zip(chosen[1], chosen[0]) for row in pair]
    return None if any(wanted.values()) else {"rows": rows, "labels": [1, 0] * num_each}
    # end of solution


# %%
h1, h2 = np.array([1, 1, 0, 0, 1, 0, 1, 0]), np.array([1, 1, 0, 0, 0, 1, 0, 1])
choose_demonstrations(h1, h2, np.array([0, 1, 1, 0, 0, 1, 0, 1]), np.arange(8), 2)

# %% [markdown]
# ## Task 2: bias_over_sets (4 marks)
#
# A model answered $n$ items behind each of $S$ sets of demonstrations. `predictions`, `h1` and `h2` are arrays of shape
# $[S, n]$: the model's labels, 1 or 0, with −1 where it gave no answer, and the items' labels under two features, with
# −1 where a feature does not apply. Only items that **tell the two apart** and have an answer count.
#
# A set's value is <<bias_over_sets.value>>.
#
# Write `bias_over_sets(predictions, h1, h2, <<bias_over_sets.argument>>)`. It returns a dictionary:
#
# - `"interval"`: lower end, mean over sets, and upper end of the value, three numbers. The ends are
#   <<bias_over_sets.ends>>.
# - `"share_of_1"`: how large a share of each set's items got the answer 1, an array of shape $[S]$.

# %% exercise="a4.bias_over_sets"
def bias_over_sets(predictions, h1, h2, <<bias_over_sets.argument>>):
    """Give the value with its interval over sets, and each set's share of the answer 1."""
    # solution
    kept = (predictions != -1) & (h1 != -1) & (h2 != -1) & (h1 != h2)
    values, shares = [], []
    for said, label, here in zip(predictions, h1, kept):
        said, label = said[here], label[here]
        values.append(<<bias_over_sets.value_code>>)
        shares.append(np.mean(said == 1))
    <<bias_over_sets.ends_code>>
    return {"interval": [low, np.mean(values), high], "share_of_1": np.array(shares)}
    # end of solution


# %%
said, h1 = np.array([[1, 1, 1, 0], [1, 0, 0, -1]]), np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
bias_over_sets(said, h1, 1 - h1, <<bias_over_sets.example>>)

# %% [markdown]
# ## Task 3: calibrate (4 marks)
#
# `log_probabilities`, of shape $[n, C]$, holds the natural log-probabilities of $C$ label words behind $n$ items. They
# do not sum to 1, since the model could say other words too. The model likes some labels whatever the text says.
#
# Take this out: <<calibrate.rule>>.
#
# Write `calibrate(log_probabilities, <<calibrate.argument>>)`. It returns a dictionary:
#
# - `"probabilities"`: what comes out, made to sum to 1 over the labels, of shape $[n, C]$; in the example below
#   `<<calibrate.value>>`;
# - `"answers"`: the number of each item's best label, $[n]$.
#
# It must also hold for log-probabilities of −900, whose exponential is 0 in floating point.

# %% exercise="a4.calibrate"
def calibrate(log_probabilities, <<calibrate.argument>>):
    """Give calibrated probabilities of the labels, and the answers."""
    # solution
    def over_labels(values):
        shifted = values - values.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    log_p = over_labels(log_probabilities)
    <<calibrate.code>>
    probabilities = np.exp(over_labels(log_p - log_prior))
    return {"probabilities": probabilities, "answers": probabilities.argmax(axis=1)}
    # end of solution


# %%
calibrate(np.log([[0.3, 0.6], [0.1, 0.4]]), <<calibrate.example>>)

# %% [markdown]
# ## Task 4: score_labels (4 marks)
#
# A model read a prompt of `prompt_length` tokens, with each of $L$ labels behind it: row $k$ of `logits`, of shape
# $[L, T, V]$, holds what it said over the $V$ words of its vocabulary at each of the $T$ places of prompt and label
# $k$. What it says at a place is its guess for the **next** token. `label_ids`, of shape $[L, M]$, holds the labels' tokens,
# padded with −1.
#
# A label's score is the natural log-probability of all its tokens behind the prompt. The function returns `"scores"`,
# $[L]$, and `"answer"`, the number of the best label.
#
# The following function has **one bug**: <<score_labels.symptom>>.
#
# ```python
# <<score_labels.bug>>
# ```
#
# Write `score_labels(logits, prompt_length, label_ids)` without it.

# %% exercise="a4.score_labels"
def score_labels(logits, prompt_length, label_ids):
    """Score labels of several tokens, and give the best."""
    # solution
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        ids = ids[ids != -1]
        places = prompt_length - 1 + np.arange(len(ids))
        scores.append(row[places, ids].sum())
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}
    # end of solution


# %%
logits = np.log([[[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]] * 2)
score_labels(logits, 1, np.array([[2, 0], [1, -1]]))

# %% [markdown]
# ## Task 5: an open experiment, plan_measurement (4 marks)
#
# You want the mean h1-accuracy over sets of demonstrations, with a standard error as small as a budget of tokens
# allows. An earlier run, `agrees` of shape $[S_0, n_0]$, says for each item of each set whether the answer agreed with
# h1 (1) or not (0). Sets and items of the new run are drawn as those were. A prompt has $p$ = `prefix_tokens` tokens of
# demonstrations and $q$ = `item_tokens` of the item.
#
# <<plan_measurement.cost>>. A plan has at least 2 sets, and at least 10 items a set.
#
# Write `plan_measurement(agrees, prefix_tokens, item_tokens, budget)`. It returns a dictionary:
#
# - `"num_sets"` and `"num_items"`: $S$ and $n$, whole numbers;
# - `"standard_error"`: that of the mean which you expect of this plan, from the earlier run.
#
# Sets differ from each other, with a variance $b$ of their true accuracies. Items differ within a set, with a variance
# $w$. The variance of the mean is $(b + w / n) / S$. Note that the earlier sets' **measured** accuracies vary by
# more than $b$.
#
# How far sets differ has nothing to do with the length of the prompt: two calls may differ in `agrees` alone.
#
# Marked, each over all calls:
#
# - the plans cost between half of the budget and all of it (1 mark);
# - their true standard error is at most 6 % above that of the best plan (2 marks);
# - the standard error you report is, within 10 %, what the earlier run says of your plan (1 mark).

# %% exercise="a4.plan_measurement"
def plan_measurement(agrees, prefix_tokens, item_tokens, budget):
    """Choose the number of sets and of items for the smallest standard error."""
    # solution
    means, num_items = agrees.mean(axis=1), agrees.shape[1]
    within = np.mean(means * (1 - means)) * num_items / (num_items - 1)
    between = max(means.var(ddof=1) - within / num_items, 0)
    n = np.arange(10, 2000)
    sets = budget // (<<plan_measurement.code>>)
    n, sets = n[sets >= 2], sets[sets >= 2]
    errors = np.sqrt((between + within / n) / sets)
    best = np.argmin(errors)
    return {"num_sets": int(sets[best]), "num_items": int(n[best]), "standard_error": float(errors[best])}
    # end of solution


# %%
plan_measurement(np.array([[1, 1, 1, 0], [0, 0, 1, 0], [1, 0, 1, 1]]), 500, 30, 500_000)
