# %% [markdown]
# # Assignment 1: Complexity and overfitting
#
# Five tasks, 20 marks, for one to two hours after lessons 01 and 02. Write each function where its cell says so.
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
#
# Your form: <<form>>. The hidden inputs are drawn anew for every marking.

# %%
import numpy as np

# %% [markdown]
# ## Task 1: compare_models (3 marks)
#
# Each row describes a training run, as in the table of lesson 01: `{"model": "AlexNet", "parameters": 60_000_000,
# "examples": 1_200_000, "unit": "image"}`. Images and words do not compare.
#
# Write `compare_models(rows, unit)`. It returns a list of pairs `(model, quotient)` of the rows whose unit is `unit`:
#
# - the quotient is <<compare_models.quotient>>, not rounded;
# - <<compare_models.order>>, and models with equal quotients in the order of their names;
# - an empty list if no row has this unit.

# %% exercise="a1.compare_models"
def compare_models(rows, unit):
    """Give (model, quotient) of the rows of one unit, in order."""
    # solution
    pairs = [(row["model"], <<compare_models.code>>) for row in rows if row["unit"] == unit]
    return sorted(pairs, key=lambda pair: <<compare_models.key>>)
    # end of solution


# %%
alexnet = {"model": "AlexNet", "parameters": 60_000_000, "examples": 1_200_000, "unit": "image"}
bert = {"model": "BERT", "parameters": 110_000_000, "examples": 3_300_000_000, "unit": "word"}
compare_models([alexnet, bert], "image")

# %% [markdown]
# ## Task 2: summarise_gaps (4 marks)
#
# A run was repeated with $S$ seeds at each of $K$ training sizes. `train` and `heldout` are arrays of shape
# $[S, K]$ with accuracies; one seed's two accuracies come from the same run. The generalization gap is training
# minus held-out accuracy.
#
# Write `summarise_gaps(train, heldout)`. It returns an array of shape $[K, 3]$: lower end, middle and upper end of the
# gap at each size. The middle is <<summarise_gaps.middle>>; the ends are <<summarise_gaps.ends>>.

# %% exercise="a1.summarise_gaps"
def summarise_gaps(train, heldout):
    """Give lower end, middle and upper end of the gap at each training size, [K, 3]."""
    # solution
    gaps = np.asarray(train) - np.asarray(heldout)
    <<summarise_gaps.code>>
    # end of solution


# %%
summarise_gaps(np.array([[1.0, 0.9], [0.9, 0.9]]), np.array([[0.6, 0.7], [0.7, 0.8]]))

# %% [markdown]
# ## Task 3: descend (5 marks)
#
# The bowl $f(x) = \frac{1}{2} \sum_d c_d\, x_d^2$ has its minimum at 0 and the gradient $c_d\, x_d$. Follow it with
# **<<descend.name>>**:
#
# $$<<descend.rule>>$$
#
# where $\eta$ is `learning_rate` and $r$ is `rate`. A step **oversteps** if some coordinate has the opposite sign after
# it. (A coordinate that is exactly 0 has no sign.)
#
# Write `descend(curvatures, start, learning_rate, rate, num_steps)`. It returns a dictionary:
#
# - `"points"`: the points, the start included, an array of shape [num_steps + 1, D];
# - `"overshoot"`: the number of the first step that oversteps, counted from 1, or `None` if none does.
#
# The course's own `gradient_descent` is not there when your notebook is marked.

# %% exercise="a1.descend"
def descend(curvatures, start, learning_rate, rate, num_steps):
    """Follow the gradient, and report the points and the first step that oversteps."""
    # solution
    curvatures, point = np.asarray(curvatures, dtype=float), np.asarray(start, dtype=float)
    velocity, points, overshoot = np.zeros_like(point), [point], None
    for step in range(num_steps):
        <<descend.code>>
        if overshoot is None and np.any(point * points[-1] < 0):
            overshoot = step + 1
        points.append(point)
    return {"points": np.stack(points), "overshoot": overshoot}
    # end of solution


# %%
descend([1.0, 4.0], [2.0, 1.0], 0.4, 0.5, 3)

# %% [markdown]
# ## Task 4: stop_early (4 marks)
#
# Early stopping keeps the best epoch so far. An epoch **improves** if its held-out loss is lower than the best loss by
# more than `min_delta`. After `patience` epochs in a row without improvement, training stops. The function returns
# `(best_epoch, last_epoch)`, both counted from 0; if nothing stops it, the last epoch is that of the last loss. A loss
# of NaN is no improvement.
#
# The following function has **one bug**: <<stop_early.symptom>>.
#
# ```python
# <<stop_early.bug>>
# ```
#
# Write `stop_early(losses, patience, min_delta)` without it.

# %% exercise="a1.stop_early"
def stop_early(losses, patience, min_delta):
    """Give the epoch to keep and the last epoch trained."""
    # solution
    best, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch, waited = loss, epoch, 0
        else:
            waited += 1
        if waited == patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1
    # end of solution


# %%
stop_early([1.0, 0.8, 0.9, 0.7, 0.75, 0.72, 0.71, 0.6], patience=3, min_delta=0.0)

# %% [markdown]
# ## Task 5: an open experiment, choose_degree (4 marks)
#
# Noisy points lie around <<choose_degree.curve>> on $[-1, 1]$. You get training points, validation points, and the $x$
# of test points, whose $y$ you never see. Choose the degree of a polynomial, from 0 to 12, and predict. How sharply the
# curve bends, if at all, and how noisy the points are changes from call to call: no degree is good in all of them.
#
# Write `choose_degree(x_train, y_train, x_validation, y_validation, x_test)`. It returns a dictionary:
#
# - `"validation_errors"`: the mean squared error on the validation points for each degree from 0 to 12, as
#   `{degree: error}`, each of a least-squares fit to the **training points alone**;
# - `"degree"`: the degree with the least validation error;
# - `"predictions"`: what the fit of this degree to the training points says at `x_test`, an array.
#
# All is computed again from the points. Marked, each over all calls:
#
# - your predictions are those of your degree's fit, and their mean squared test error is at most 1.1 times that of a
#   choice by validation error (2 marks);
# - all 13 validation errors are what they say (1 mark);
# - your degree has the least of them (1 mark).

# %% exercise="a1.choose_degree"
def choose_degree(x_train, y_train, x_validation, y_validation, x_test):
    """Choose a degree on the validation points, and predict at the test points."""
    # solution
    fits = {degree: np.polynomial.Polynomial.fit(x_train, y_train, degree) for degree in range(13)}
    errors = {degree: float(np.mean((fit(x_validation) - y_validation) ** 2)) for degree, fit in fits.items()}
    best = min(errors, key=errors.get)
    return {"degree": best, "validation_errors": errors, "predictions": fits[best](x_test)}
    # end of solution


# %%
x = np.linspace(-1, 1, 30)
choose_degree(x[::2], x[::2] ** 2, x[1::2], x[1::2] ** 2, np.array([0.0, 0.5]))
