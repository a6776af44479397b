// Which recipes and targets are shown; the words that are looked for may stand in the recipe or in the target.
function sift() {
  const words = one("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [task, backend, card] = ["task", "backend", "card"].map((name) => one(name).value);
  let shown = 0;
  for (const recipe of all(".recipe")) {
    const about = recipe.querySelector(".about-recipe").textContent;
    let here = 0;
    for (const row of all("tbody tr", recipe)) {
      const text = `${about} ${row.textContent}`.toLowerCase();
      const fits = words.every((word) => text.includes(word))
        && (!task || recipe.dataset.task === task)
        && (!backend || row.dataset.backends.split(" ").includes(backend))
        && (!card || (row.dataset.card !== "" && Number(row.dataset.card) <= Number(card)));
      row.hidden = !fits;
      here += fits;
    }
    recipe.hidden = here === 0;
    one(`to-${recipe.id}`).hidden = here === 0;
    shown += here;
  }
  const count = all(".recipe tbody tr").length;
  one("shown").textContent = `${shown} of ${count} ${count === 1 ? "target" : "targets"}`;
}

one("filters").hidden = false;
one("filters").addEventListener("input", sift);
one("filters").addEventListener("submit", (event) => event.preventDefault());
sift();
