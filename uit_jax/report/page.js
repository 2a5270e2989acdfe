"use strict";
// Draws a plot once it comes into view, in the colours of the page; smooths curves; moves through pictures.
(() => {
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const drawn = new Map();
  const tagged = (models, tag) => models.filter((model) => model.type === "GlyphRenderer" && model.tags.includes(tag));

  function tint(models) {
    const style = getComputedStyle(document.documentElement);
    const [ink, muted, line] = ["--ink", "--muted", "--line"].map((name) => style.getPropertyValue(name).trim());
    for (const model of models) {
      if (model.type.endsWith("Axis")) {
        model.setv({ axis_label_text_color: muted, major_label_text_color: muted, axis_line_color: line,
          major_tick_line_color: line, minor_tick_line_color: line });
      } else if (model.type === "Grid") model.grid_line_color = line;
      else if (model.type === "Title") model.text_color = ink;
      else if (model.type === "Label") model.text_color = muted;
      else if (model.type === "Span") model.line_color = muted;
    }
    for (const model of tagged(models, "counts")) model.glyph.text_color = { value: ink };
  }

  // An exponential mean without the pull of its start, as TensorBoard's; of a constant it is that to the last digit.
  function smoothed(values, share) {
    let mean = 0, weight = 0, low = Infinity, high = -Infinity;
    return values.map((value) => {
      if (!Number.isFinite(value)) return NaN;
      mean = share * mean + (1 - share) * value;
      weight = share * weight + (1 - share);
      low = Math.min(low, value);
      high = Math.max(high, value);
      return Math.min(high, Math.max(low, mean / weight));
    });
  }

  function smooth(models) {
    const share = Number(document.getElementById("smoothing")?.value ?? 0);
    for (const model of tagged(models, "smooth")) {
      const source = model.data_source, columns = source.data;
      const values = columns instanceof Map ? columns.get("value") : columns.value;
      const steps = columns instanceof Map ? columns.get("step") : columns.step;
      source.data = { step: steps, value: values, smooth: smoothed([...values], share) };
      model.glyph.y = { field: "smooth" };
    }
  }

  function paint(models, by) {
    for (const model of tagged(models, "points")) {
      const colour = { field: `by_${by}` };
      model.glyph.setv({ fill_color: colour, line_color: colour, hatch_color: colour, marker: { field: `${by}_mark` } });
    }
  }

  async function draw(place) {
    const manager = await Bokeh.embed.embed_item(data(place.dataset.item), place);
    const models = [...manager].flatMap((view) => [...view.model.references()]);
    drawn.set(place, models);
    tint(models);
    smooth(models);
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "300px" });
  all(".plot").forEach((place) => seen.observe(place));

  const every = (change) => drawn.forEach((models) => change(models));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => every(tint));

  const smoothing = document.getElementById("smoothing");
  smoothing?.addEventListener("input", () => {
    document.getElementById("smoothing-told").value = smoothing.value;
    every(smooth);
  });

  for (const choice of all("fieldset.by")) {
    choice.addEventListener("change", (event) => {
      const by = event.target.value, section = choice.parentElement;
      all(".keys", section).forEach((keys) => { keys.hidden = keys.dataset.by !== by; });
      paint(drawn.get(section.querySelector(".plot")) ?? [], by);
    });
  }

  for (const part of all(".samples")) {
    const slider = part.querySelector("input"), told = part.querySelector("output");
    const { steps, runs } = data(part.dataset.frames), figures = all("figure", part);
    const show = () => {
      const step = steps[slider.value];
      told.value = `step ${step}`;
      slider.setAttribute("aria-valuetext", told.value);
      runs.forEach(({ run, frames }, index) => {
        const frame = frames.findLast((each) => each.step <= step) ?? frames[0];
        const image = figures[index].querySelector("img");
        image.src = frame.data;
        image.alt = `${part.dataset.name} of ${run} at step ${frame.step}`;
        figures[index].querySelector(".at").textContent = `step ${frame.step}`;
      });
    };
    slider.addEventListener("input", show);
    show();
  }
})();
