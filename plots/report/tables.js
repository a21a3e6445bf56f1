'use strict';
// Tables sort by a click, or Enter, on a column's header; again for the other direction. Numbers by size, else by letters.
const compare = (a, b) =>
  a !== '' && b !== '' && !Number.isNaN(Number(a) + Number(b)) ? Number(a) - Number(b) : a.localeCompare(b, 'en', {numeric: true});
for (const table of document.querySelectorAll('table.sortable')) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement('button');
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener('click', () => {
      const sign = header.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
      headers.forEach((other) => other.removeAttribute('aria-sort'));
      header.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => sign * compare(text(a), text(b)));
      table.tBodies[0].append(...rows);
    });
  });
}
