"use strict";

// The reconstructor of modellib/conv_networks.py, and the controls around it.
const floats = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const parts = JSON.parse(document.getElementById("parts").textContent).map(part => ({
  ...part, ...Object.fromEntries(
    ["styles", "centre", "directions", "style_weight", "style_bias", "class_rows", "last_bias"].map(key => [key, floats(part[key])])
  ), convolutions: part.convolutions.map(layer => ({...layer, weight: floats(layer.weight)})),
}));

const leaky = value => value > 0 ? value : 0.2 * value;

// Features (in, n, n) -> (out, m, m): a transposed convolution, 4x4, stride 2, without bias.
function transposed(features, n, layer) {
  const m = 2 * n + 2 - 2 * layer.padding, result = new Float32Array(layer.out * m * m);
  for (let i = 0; i < layer.in; i++) {
    for (let o = 0; o < layer.out; o++) {
      const kernel = 16 * (i * layer.out + o), plane = o * m * m;
      for (let y = 0; y < n; y++) {
        for (let x = 0; x < n; x++) {
          const value = features[(i * n + y) * n + x];
          for (let ky = 0; ky < 4; ky++) {
            const row = 2 * y + ky - layer.padding;
            if (row < 0 || row >= m) continue;
            for (let kx = 0; kx < 4; kx++) {
              const column = 2 * x + kx - layer.padding;
              if (column >= 0 && column < m) result[plane + row * m + column] += value * layer.weight[kernel + 4 * ky + kx];
            }
          }
        }
      }
    }
  }
  return [result, m];
}

// Every channel with mean 0 and variance 1, then LeakyReLU.
function normalised(features, size) {
  for (let start = 0; start < features.length; start += size) {
    let sum = 0, squares = 0;
    for (let i = start; i < start + size; i++) sum += features[i];
    const mean = sum / size;
    for (let i = start; i < start + size; i++) squares += (features[i] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / size + 1e-5);
    for (let i = start; i < start + size; i++) features[i] = leaky((features[i] - mean) * scale);
  }
}

// What the style does to the first 256 features, which is the same for every class.
function styled(part, style) {
  return Float32Array.from(part.style_bias, (bias, row) => {
    let sum = bias;
    for (let i = 0; i < style.length; i++) sum += part.style_weight[row * style.length + i] * style[i];
    return leaky(sum);
  });
}

// The image (C, H, W), in [0, 1].
function reconstruction(part, style, label, first = styled(part, style)) {
  let features = new Float32Array(512), n = 2;
  features.set(first);
  features.set(part.class_rows.subarray(256 * label, 256 * (label + 1)).map(leaky), 256);
  part.convolutions.forEach((layer, number) => {
    [features, n] = transposed(features, n, layer);
    if (number < part.convolutions.length - 1) normalised(features, n * n);
    else features.forEach((value, i) => { features[i] = 1 / (1 + Math.exp(-value - part.last_bias[Math.floor(i / (n * n))])); });
  });
  return features;
}

function paint(canvas, part, image) {
  const [channels, height, width] = part.shape, size = height * width;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round(255 * image[(channels === 3 ? c : 0) * size + i]);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

const find = id => document.getElementById(id), large = document.querySelector("#large canvas");
const state = {part: parts[0], label: 0, from: 0, to: 1, way: 0, amounts: []};

function style() {
  const {part, from, to, way, amounts} = state, n = part.centre.length;
  return Float32Array.from({length: n}, (_, i) => {
    let value = part.styles[from * n + i] * (1 - way) + part.styles[to * n + i] * way;
    amounts.forEach((amount, k) => { value += amount * part.directions[k * n + i]; });
    return value;
  });
}

let waiting = 0;
function draw() {
  clearTimeout(waiting);  // once for all that has changed by then
  waiting = setTimeout(() => {
    const {part, label} = state, first = styled(part, style());
    document.querySelectorAll("#classes canvas").forEach((canvas, i) => {
      const image = reconstruction(part, null, i, first);
      paint(canvas, part, image);
      if (i === label) paint(large, part, image);
    });
    large.setAttribute("aria-label", `${part.classes[label]} in the style of image ${state.from + 1}`);
    find("way").nextElementSibling.value = state.way.toFixed(2);
    document.querySelectorAll("#sliders output").forEach((output, k) => { output.value = state.amounts[k].toFixed(1); });
  });
}

// One of several, chosen by mouse, finger, Tab and arrow keys: radio buttons under pictures.
function choices(id, contents, chosen, choose) {
  find(id).replaceChildren(...contents.map((content, i) => {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, {type: "radio", name: id, checked: i === chosen});
    input.addEventListener("change", () => { choose(i); label.scrollIntoView({block: "nearest", inline: "nearest"}); });
    label.append(input, ...content(i, input));
    return label;
  }));
}

function slider(k) {
  const label = document.createElement("label"), input = document.createElement("input");
  label.className = "slider";
  Object.assign(input, {type: "range", min: -3, max: 3, step: 0.1, value: 0});
  input.addEventListener("input", () => { state.amounts[k] = +input.value; draw(); });
  label.append(`style ${k + 1}`, input, document.createElement("output"));
  return label;
}

function amounts(values) {
  state.amounts = values.map(value => Math.max(-3, Math.min(3, Math.round(10 * value) / 10)));
  document.querySelectorAll("#sliders input").forEach((input, k) => { input.value = state.amounts[k]; });
  draw();
}

function show(part) {
  Object.assign(state, {part, label: 0, from: 0, to: Math.min(1, part.n_images - 1), way: 0});
  find("way").value = 0;
  find("about").textContent = part.about;
  const [, height, width] = part.shape;
  choices("classes", part.classes.map(name => () => {
    const text = document.createElement("span");
    text.textContent = name;
    return [document.createElement("canvas"), text];
  }), 0, i => { state.label = i; draw(); });
  for (const end of ["from", "to"]) {
    choices(end, part.labels.map(label => (i, input) => {
      const image = document.createElement("span");
      image.className = "image";
      image.style.cssText = `background-image: url(${part.images}); background-size: ${part.n_images * 3}rem 3rem; `
        + `background-position: ${-3 * i}rem 0`;
      input.setAttribute("aria-label", `image ${i + 1}, ${part.classes[label]}`);
      return [image];
    }), state[end], i => {
      state[end] = i;
      if (end === "to" && !state.way) find("way").value = state.way = 1;
      draw();
    });
  }
  find("sliders").replaceChildren(...Array.from({length: part.n_directions}, (_, k) => slider(k)));
  amounts(Array(part.n_directions).fill(0));
}

find("way").addEventListener("input", event => { state.way = +event.target.value; draw(); });
find("random").onclick = () => {
  // The sum of three uniform numbers is near to a normal one; of standard deviation 1 here.
  amounts(state.amounts.map(() => 2 * (Math.random() + Math.random() + Math.random() - 1.5)));
};
find("reset").onclick = () => { find("way").value = state.way = 0; amounts(state.amounts.map(() => 0)); };
let dragged = null;
large.addEventListener("pointerdown", event => {
  large.setPointerCapture(event.pointerId);
  dragged = {x: event.clientX, y: event.clientY, amounts: [...state.amounts]};
});
large.addEventListener("pointermove", event => {
  if (!dragged) return;
  const scale = 6 / large.clientWidth, [first, second, ...others] = dragged.amounts;
  amounts([first + scale * (event.clientX - dragged.x), second - scale * (event.clientY - dragged.y), ...others]);
});
for (const end of ["pointerup", "pointercancel"]) large.addEventListener(end, () => { dragged = null; });

choices("data", parts.map(part => () => [part.title]), 0, i => show(parts[i]));
show(parts[0]);
