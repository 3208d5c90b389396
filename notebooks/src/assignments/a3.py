# %% [markdown]
# # Assignment 3: Pre-trained prompt tuning
#
# Six tasks, 20 marks, for one to two hours after lessons 05 and 06. Write each function where its cell says so. You need
# NumPy alone: no model runs here, its outputs come as arrays.
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
# - What the course has of these tasks is not there when your notebook is marked.
#
# Your form: <<form>>. The hidden inputs are drawn anew for every marking.

# %%
import numpy as np

# %% [markdown]
# ## Task 1: build_choices (4 marks)
#
# PPT trains a prompt beforehand on choices that plain text gives for free: which of these sentences stands beside this
# one? A prompt must have no other way to find the answer than to read.
#
# `documents` is a list of documents, each a list of at least four sentences. `queries` is a list of pairs
# `(document, sentence)`, both counted from 0. `order` is a list of the places 0 to `num_options` - 1, shuffled.
#
# Write `build_choices(documents, queries, num_options, order)`. It returns a list of dictionaries `{"query": sentence,
# "options": list of num_options sentences, "label": place of the answer, counted from 0}`, in the order of the queries:
#
# - **The answer** is <<build_choices.answer>>, in its document. A query that has none gives no example.
# - **The first distractor** has the query's topic: it is that sentence of the query's document which stands farthest
#   from the query; of two equally far ones, the earlier.
# - **The other distractors** come from the documents after the query's, one from each, and after the last document from
#   the first again. With the query at place $s$ of its document, a document of $n$ sentences gives the one at place
#   $s \bmod n$. It is passed over if its text is the query's, the answer's or another distractor's. There are always
#   enough documents.
# - **The places** of the answers of successive examples are <<build_choices.places>>. The distractors keep their order
#   around the answer.
#
# The example below gives
#
# ```python
# <<build_choices.value>>
# ```

# %% exercise="a3.build_choices"
def build_choices(documents, queries, num_options, order):
    """Give next-sentence choices, with every place of the answer equally frequent."""
    # solution
    examples = []
    for home, at in queries:
        here, beside = documents[home], at + <<build_choices.step>>
        if 0 <= beside < len(here):
            hard = max(here, key=lambda sentence: abs(here.index(sentence) - at))
            others = dict.fromkeys([hard] + [text[at % len(text)] for text in documents[home + 1 :] + documents[:home]])
            rest = [text for text in others if text not in (here[at], here[beside])][: num_options - 1]
            <<build_choices.code>>
            examples.append({"query": here[at], "options": [*rest[:place], here[beside], *rest[place:]], "label": place})
    return examples
    # end of solution


# %%
cats = ["Cats sleep.", "They wake at dusk.", "Then they hunt.", "At dawn they rest."]
rivers = ["Rivers rise in hills.", "They run down.", "They widen.", "They reach the sea."]
towns = ["Towns grow.", "They need water.", "They dig wells.", "Wells run dry."]
build_choices([cats, rivers, towns], [(0, 1), (1, 2), (2, 1)], 3, [2, 0, 1])

# %% [markdown]
# ## Task 2: start_rows (3 marks)
#
# A soft prompt that begins far from all word embeddings is hard to tune. Here is a start among them.
#
# `table` has shape $[V, D]$: a row for each token of the vocabulary. `counts`, $[V]$, says how often each token occurred
# in pre-training; `special` lists the numbers of the special tokens. A token is **ordinary** if it is not special and
# occurred at least once.
#
# Write `start_rows(table, counts, special, num_rows)`. It returns the start of the prompt, an array of shape
# [num_rows, D]. <<start_rows.rule>>.
#
# The example below gives `<<start_rows.value>>`, rounded to four places.

# %% exercise="a3.start_rows"
def start_rows(table, counts, special, num_rows):
    """Give a soft prompt's first rows, [num_rows, D]."""
    # solution
    ids = np.array([token for token in range(len(table)) if counts[token] > 0 and token not in special])
    norms = np.linalg.norm(table[ids], axis=1)
    <<start_rows.code>>
    # end of solution


# %%
table = np.array([[9.0, 9.0], [3.0, 4.0], [0.0, 2.0], [6.0, 8.0], [1.0, 0.0]])
start_rows(table, np.array([50, 4, 3, 2, 0]), [0], 2)

# %% [markdown]
# ## Task 3: label_loss (4 marks)
#
# A causal model is asked for one of $L$ label words behind each of $B$ examples. Word $l$ has $T_l$ tokens, and the
# model has read the example and the word up to each of them: `logits` has shape $[B, L, T, V]$, and `logits[b, l, t]`
# are the scores of the whole vocabulary for token `words[l][t]`. `words` is a list of $L$ lists of token numbers, of
# different lengths; behind a word's end, `logits` hold numbers without meaning. `labels`, $[B]$, has the right labels
# $y_b$.
#
# Let $p_{blt}$ be the probability of token $t$ of word $l$ **among the whole vocabulary**. The score of a word is
#
# $$<<label_loss.score>>,$$
#
# the shares $q_{bl}$ are the softmax of the scores **over the $L$ labels alone**, and the loss of an example is, in nats,
#
# $$<<label_loss.loss>>.$$
#
# Write `label_loss(logits, words, labels, strength)`, where `strength` is $<<label_loss.symbol>>$. It returns a
# dictionary: `"scores"`, an array of shape [B, L], and `"loss"`, the mean over the examples. Logits may be as large as
# 1,000.

# %% exercise="a3.label_loss"
def label_loss(logits, words, labels, strength):
    """Give each label word's score, [B, L], and the mean loss over the label words, in nats."""
    # solution
    def log_softmax(x):
        x = x - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

    log_p = log_softmax(logits)
    scores = [log_p[:, l, range(len(word)), word].<<label_loss.together>>(axis=1) for l, word in enumerate(words)]
    log_q = log_softmax(np.stack(scores, axis=1))
    right = log_q[np.arange(len(labels)), labels]
    <<label_loss.code>>
    return {"scores": np.stack(scores, axis=1), "loss": losses.mean()}
    # end of solution


# %% [markdown]
# With all logits equal, each of four tokens has $p = \frac{1}{4}$, so that a word of one token scores
# $\log \frac{1}{4} = -1.386$. Rounded to four places, the result is `<<label_loss.value>>`:

# %%
label_loss(np.zeros((1, 2, 2, 4)), [[1], [2, 3]], np.array([0]), 0.5)

# %% [markdown]
# ## Task 4: draw_few_shot (3 marks)
#
# Row $i$ of a data set is a sentence of the review `groups[i]` with the class `labels[i]` (0, 1, …). `order` is a random
# order of all rows: the draw.
#
# Write `draw_few_shot(labels, groups, order, per_class)`. It returns `{"train": …, "development": …}`, two lists of row
# numbers, each in the order of the draw:
#
# - **Groups take turns**, in the order in which they first occur in the draw. <<draw_few_shot.turns>>.
# - <<draw_few_shot.candidates>>.
# - Each side takes its first `per_class` candidates of each class. If some class has fewer on some side, then **every
#   class gets that smallest number on both sides**.
#
# The example below gives `<<draw_few_shot.value>>`.

# %% exercise="a3.draw_few_shot"
def draw_few_shot(labels, groups, order, per_class):
    """Give the rows for training and for development: no group on both, and balanced."""
    # solution
    names, cycle = list(dict.fromkeys(groups[row] for row in order)), <<draw_few_shot.cycle>>
    side_of = {name: cycle[turn % len(cycle)] for turn, name in enumerate(names)}
    <<draw_few_shot.code>>
    pools = {
        (side, label): [row for row in candidates if side_of[groups[row]] == side and labels[row] == label]
        for side in ("train", "development") for label in set(labels)
    }
    count = min(per_class, *(len(pool) for pool in pools.values()))
    chosen = {key: set(pool[:count]) for key, pool in pools.items()}
    return {side: [row for row in order if any(row in chosen[side, label] for label in set(labels))] for side in cycle}
    # end of solution


# %%
labels, groups = [1, 1, 0, 1, 1, 1, 1, 0], ["a", "a", "b", "c", "d", "e", "f", "g"]
draw_few_shot(labels, groups, [7, 1, 5, 3, 4, 2, 0, 6], per_class=1)

# %% [markdown]
# ## Task 5: report (2 marks)
#
# A prompt was saved at $S$ steps of its tuning. `development`, $[S, N, V]$, has the model's scores of the whole vocabulary
# at the answers of $N$ development examples, `test`, $[S, M, V]$, those of $M$ test examples. `label_ids` lists the
# tokens of the label words, one each; `development_labels` and `test_labels` are numbers of labels, not of tokens. An
# example counts as right if, **among the label words**, the right one has the highest score.
#
# The step with the best development accuracy is kept, of equals the earliest. Its number, its development accuracy and
# its accuracy on the test set, which is read once, are returned as `{"kept": …, "development": …, "test": …}`.
#
# The following function has **one bug**: <<report.symptom>>.
#
# ```python
# <<report.bug>>
# ```
#
# Write `report(development, development_labels, test, test_labels, label_ids)` without it. The example below gives
# `<<report.value>>`.

# %% exercise="a3.report"
def report(development, development_labels, test, test_labels, label_ids):
    """Give the kept step, its development accuracy and its test accuracy."""
    # solution
    def accuracy(logits, labels):
        return (logits[:, label_ids].argmax(axis=1) == labels).mean()

    accuracies = [accuracy(logits, development_labels) for logits in development]
    kept = int(np.argmax(accuracies))
    return {"kept": kept, "development": accuracies[kept], "test": accuracy(test[kept], test_labels)}
    # end of solution


# %%
scores = np.array([[[5.0, 1.0, 0.0], [5.0, 0.0, 1.0]]])
report(scores, np.array([0, 1]), scores[:, :1], np.array([1]), [1, 2])

# %% [markdown]
# ## Task 6: an open experiment, tune_prompt (4 marks)
#
# A frozen model reads a text $x \in \mathbb{R}^D$ behind a soft prompt $p \in \mathbb{R}^H$ and gives the scores of two
# label words:
#
# $$z = U\, f(W x + p), \qquad f(h) = <<tune_prompt.activation>>$$
#
# `weights` is $W$, $[H, D]$; `output` is $U$, $[2, H]$; `start` is a prompt to begin from, $[H]$. Of the labels that you
# get, a few are wrong. Let $q$ be the softmax of $z$, and $e_y$ the vector that is 1 at the given label and 0 elsewhere.
# Then the gradient of an example's cross-entropy (in nats) is
#
# $$\nabla_p = f'(W x + p) \odot U^{\top} (q - e_y), \qquad f'(h) = <<tune_prompt.slope>>$$
#
# Tune $p$ alone, on the 32 training examples alone. Few examples are soon learnt by heart, so the last prompt need not
# be the best. Keep some prompts on the way, the **candidates**. At the end choose the one with the least loss on the 64
# development examples. A loss is the mean cross-entropy of a set of examples, in nats.
#
# Write `tune_prompt(weights, output, start, x_train, y_train, x_development, y_development, x_test)`. It returns a
# dictionary:
#
# - `"prompts"`: 5 to 20 different candidates, $[K, H]$;
# - `"development_losses"`: the development loss behind each candidate, in the same order, $[K]$;
# - `"prompt"`: the candidate with the least of them, $[H]$;
# - `"predictions"`: the labels, 0 or 1, that the model gives at `x_test` behind this prompt.
#
# Calls come in pairs with the same model, start and training examples, and other development and test examples. The
# candidates must be the same in both. So they must not depend on the development examples: fix beforehand how many
# steps you take, and after which ones you keep a candidate. Draw random numbers, if you do, from a generator that the
# function makes anew, `np.random.default_rng(0)`.
#
# A prompt is **tuned** if the training loss falls, from the start to this prompt, by at least a quarter of what it falls
# in a plain tuning: gradient descent from the start, and the candidate with the least development loss.
#
# Marked, each over all calls, and computed again from your prompts:
#
# - behind the prompts that you choose, the gain in test accuracy over the start is at least 60 % of a plain tuning's, in
#   each pair of calls (2 marks);
# - every chosen prompt is tuned and the best of its candidates, and losses and predictions are what they say (1 mark);
# - every chosen prompt is tuned, the candidates are the same in both calls of a pair, and more than half of them have a
#   lower training loss than the start (1 mark).

# %% exercise="a3.tune_prompt"
def tune_prompt(weights, output, start, x_train, y_train, x_development, y_development, x_test):
    """Tune a prompt on few examples, and choose the candidate with the least development loss."""
    # solution
    def read(prompt, x):
        scores = <<tune_prompt.apply>>(x @ weights.T + prompt) @ output.T
        return (shares := np.exp(scores - scores.max(axis=1, keepdims=True))) / shares.sum(axis=1, keepdims=True)

    path, rows = [start], (np.arange(len(y_development)), y_development)
    for _ in range(300):
        h, errors = x_train @ weights.T + path[-1], read(path[-1], x_train) - np.eye(2)[y_train]
        path.append(path[-1] - 0.5 * (errors @ output * (<<tune_prompt.derivative>>)).mean(axis=0))
    losses = [-np.log(read(prompt, x_development)[rows]).mean() for prompt in path[15::15]]
    answer = {"prompts": path[15::15], "development_losses": losses, "prompt": path[15::15][np.argmin(losses)]}
    return {**answer, "predictions": read(answer["prompt"], x_test).argmax(axis=1)}
    # end of solution


# %%
rng = np.random.default_rng(0)
x, weights, output = rng.normal(size=(40, 2)), np.eye(2), np.array([[2.0, 0.0], [0.0, 2.0]])
y = (x[:, 0] < x[:, 1]).astype(int)
tune_prompt(weights, output, np.array([2.0, -1.0]), x[:20], y[:20], x[20:], y[20:], x[:3])["predictions"]
