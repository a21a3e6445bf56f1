'use strict';
// The look at a prompt: what a query head attends to, and what two policies keep of it.
(() => {
  const source = document.getElementById('look-data');
  if (!source) return;
  const look = JSON.parse(source.textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const control = (name) => document.getElementById('look-' + name);
  const text = control('text');
  const fill = (select, labels, chosen) => {
    select.replaceChildren(...labels.map((label, index) => new Option(label, index)));
    select.selectedIndex = Math.min(Math.max(chosen, 0), labels.length - 1);
  };
  const numbers = (count) => [...Array(count).keys()].map(String);
  for (const prompt of look.prompts) {
    prompt.window = bytes(prompt.window);
    prompt.future = bytes(prompt.future);
    prompt.kept.forEach((policies) => policies.forEach((one) => { one.bits = bytes(one.bits); }));
  }

  const chosen = (name) => Number(control(name).value);
  const isKept = (one, prompt, layer, head, cell) => {
    if (!one.sets) return false;
    const set = Math.floor(head * one.sets / prompt.heads);
    const width = Math.ceil(prompt.texts.length / 8);
    return (one.bits[(layer * one.sets + set) * width + (cell >> 3)] >> (cell & 7) & 1) === 1;
  };
  // What a policy keeps of a span: at this layer and head, and over all of them.
  const ofSpan = (one, prompt, layer, head, span) => {
    let here = 0, all = 0, total = 0;
    for (let cell = span[1]; cell < span[2]; ++cell) {
      here += isKept(one, prompt, layer, head, cell);
      for (let l = 0; l < prompt.layers.length; ++l) {
        for (let set = 0; set < one.sets; ++set, ++total) {
          all += isKept(one, prompt, l, Math.floor(set * prompt.heads / one.sets), cell);
        }
      }
    }
    return `${here} of ${span[2] - span[1]} here, ${total ? Math.round(100 * all / total) : 0} % over all layers and heads`;
  };

  const drawPrompt = () => {
    const prompt = look.prompts[chosen('prompt')];
    fill(control('layer'), prompt.layers.map(String), control('layer').selectedIndex);
    fill(control('head'), numbers(prompt.heads), control('head').selectedIndex);
    control('shade').options[1].disabled = prompt.future.length === 0;
    text.replaceChildren(...prompt.texts.map((words) => {
      const cell = document.createElement('span');
      cell.textContent = words;
      return cell;
    }));
    for (const [name, begin, end] of prompt.spans) {
      if (name === 'context') continue;
      for (let cell = begin; cell < end; ++cell) {
        text.children[cell].classList.add('marked');
        text.children[cell].title = name;
      }
    }
    control('rule').textContent = prompt.cell === 1
      ? `${prompt.positions} positions, each a cell.`
      : `${prompt.positions} positions in cells of ${prompt.cell}: a cell shows the largest attention in it, and is kept when any of its positions is.`;
    draw();
  };
  const draw = () => {
    const prompt = look.prompts[chosen('prompt')];
    const layer = chosen('layer'), head = chosen('head');
    const policies = prompt.kept[chosen('budget')];
    const a = policies[chosen('a')], b = policies[chosen('b')];
    const shades = control('shade').value === 'future' ? prompt.future : prompt.window;
    const start = (layer * prompt.heads + head) * prompt.texts.length;
    [...text.children].forEach((cell, index) => {
      cell.style.setProperty('--shade', (shades[start + index] ?? 0) / 255);
      cell.classList.toggle('a', isKept(a, prompt, layer, head, index));
      cell.classList.toggle('b', isKept(b, prompt, layer, head, index));
    });
    const lines = [];
    for (const [name, one] of [['A', a], ['B', b]]) {
      const label = look.policies[chosen(name.toLowerCase())];
      if (!one.sets) { lines.push(`${name}, ${label}: cannot hold so little.`); continue; }
      const spans = prompt.spans.filter((span) => span[0] === 'needle' || span[0] === 'question');
      lines.push(`${name}, ${label}: ` + (spans.map((span) => `${span[0]} ${ofSpan(one, prompt, layer, head, span)}`).join('; ') || 'no span to follow') + '.');
    }
    control('summary').replaceChildren(...lines.map((line) => {
      const item = document.createElement('li');
      item.textContent = line;
      return item;
    }));
  };

  fill(control('prompt'), look.prompts.map((prompt) => `${prompt.id} (${prompt.task || 'no task'})`), 0);
  fill(control('budget'), look.budgets, Math.floor(look.budgets.length / 2));
  fill(control('a'), look.policies, 0);
  fill(control('b'), look.policies, 1);
  control('prompt').addEventListener('change', drawPrompt);
  for (const name of ['layer', 'head', 'budget', 'a', 'b', 'shade']) control(name).addEventListener('change', draw);
  drawPrompt();
})();
