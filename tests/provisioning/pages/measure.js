// What a page is like, as the browser shows it now. Run by the debugger: the page itself has no scripts.
() => {
  const visible = part => part.checkVisibility({visibilityProperty: true}) && part.getClientRects().length > 0;
  const parse = text => { const n = text.match(/[\d.]+/g).map(Number); return {rgb: n.slice(0, 3), alpha: n[3] ?? 1}; };
  const ground = part => {
    for (let at = part; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.alpha > 0) return colour;
    }
    return {rgb: [255, 255, 255], alpha: 1};
  };
  const light = ({rgb}) => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const named = part => part.tagName + '#' + part.id + '.' + part.className + ' ' + (part.textContent || '').trim().slice(0, 30);
  const all = [...document.querySelectorAll('body *')].filter(visible);
  const hasText = part => [...part.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  const inSvg = part => part.closest('svg') !== null;
  const pale = all.filter(part => hasText(part) && !part.matches('.hidden, .skip, title, desc, option'))
    .map(part => [named(part), contrast(parse(inSvg(part) ? getComputedStyle(part).fill : getComputedStyle(part).color), ground(part))])
    .filter(([, ratio]) => ratio < 4.5);
  const fields = all.filter(part => part.matches('input:not([type=hidden]), select, textarea'));
  return {
    lang: document.documentElement.lang,
    title: document.title,
    landmarks: ['header', 'main'].filter(name => document.querySelectorAll(name).length !== 1),
    levels: [...document.querySelectorAll('h1, h2, h3')].filter(visible).map(part => Number(part.tagName[1])),
    unlabelled: fields.filter(part => part.labels.length !== 1 || !part.labels[0].textContent.trim()).map(named),
    faintEdges: fields.filter(part => contrast(parse(getComputedStyle(part).borderTopColor), ground(part.parentElement)) < 3).map(named),
    pale,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    small: all.filter(part => part.matches('button, .button, summary, input, select, textarea, nav a, .devices .name a'))
      .filter(part => part.getBoundingClientRect().height < 43.5).map(named),
    nameless: all.filter(part => part.matches('a, button') && !part.textContent.trim() && !part.ariaLabel).map(named),
    captionless: all.filter(part => part.matches('table') && !part.caption).map(named),
    ids: [...document.querySelectorAll('[id]')].map(part => part.id),
    dangling: all.flatMap(part => ['aria-describedby', 'aria-labelledby'].flatMap(name => (part.getAttribute(name) || '').split(' ')))
      .filter(id => id && !document.getElementById(id)),
    fontless: fields.filter(part => parseFloat(getComputedStyle(part).fontSize) < 13).map(named),
    skip: document.querySelector('a').getAttribute('href'),
  };
}
