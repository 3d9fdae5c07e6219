//! The audit log: who asked for what, of which machines, and what they got.

import { useEffect, useState } from 'preact/hooks'
import { api, type AuditEntry, type Problem } from '../api'
import { Badge, Empty, Head, Scroll, Waiting, Wrong } from '../parts/basics'
import { when } from '../format'
import { go, link } from '../route'

export function AuditPage({ words }: { words: Record<string, string> }) {
  const [items, set] = useState<AuditEntry[] | null>(null)
  const [problem, fail] = useState<Problem | null>(null)
  const [isRefused, filter] = [words.show === 'refused', (show: string | null) => go(link(['audit'], { show, text }), true)]
  const text = words.text ?? ''
  const oldest = items?.[0]?.seq ?? 1
  const load = () => {
    api.audit(null, PAGE).then((answer) => { set(answer.items); fail(null) }, fail)
  }
  const earlier = () => {
    const first = Math.max(1, oldest - PAGE)
    api.audit(first, oldest - first).then((answer) => set([...answer.items.filter((entry) => entry.seq < oldest), ...(items ?? [])]), fail)
  }
  useEffect(load, [])
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean)
  const shown = (items ?? []).filter((entry) => (!isRefused || entry.answer !== 'granted') && wanted.every((word) => textOf(entry).includes(word))).reverse()
  return (
    <>
      <Head title="Audit"><button type="button" onClick={load}>Newest</button></Head>
      <div class="bar">
        <div class="tabs" role="group" aria-label="Which entries">
          <button type="button" aria-pressed={!isRefused} onClick={() => filter(null)}>All</button>
          <button type="button" aria-pressed={isRefused} onClick={() => filter('refused')}>Refused and failed</button>
        </div>
        <input type="search" class="grow" value={text} placeholder="Among these: a name, an action, a machine" aria-label="Show only entries with these words" onInput={(event) => go(link(['audit'], { show: words.show, text: event.currentTarget.value }), true)} />
      </div>
      {problem && <Wrong problem={problem} again={load} />}
      {!items && !problem && <Waiting what="the audit log" />}
      {items && shown.length === 0 && <Empty title={items.length === 0 ? 'Nothing was asked of this controller yet' : 'None of these entries'} />}
      {shown.length > 0 && (
        <Scroll label="Entries">
          <table class="dense stack">
            <thead><tr><th scope="col" class="number">No.</th><th scope="col">When</th><th scope="col">Who</th><th scope="col">Did</th><th scope="col">What</th><th scope="col">Answer</th><th scope="col">From</th></tr></thead>
            <tbody>
              {shown.map((entry) => (
                <tr key={entry.seq}>
                  <td class="number">{entry.seq}</td>
                  <td class="mono">{when(Date.parse(entry.at))}</td>
                  <td>{whoOf(entry)}</td>
                  <td><span class="tag">{entry.action}</span></td>
                  <td class="wrap">{entry.subject}{entry.machines.length > 0 && <span class="quiet-text"> {entry.machines.slice(0, 4).map((machine) => machine.name).join(', ')}{entry.machines.length + entry.more_machines > 4 && ` and ${entry.machines.length + entry.more_machines - 4} more`}</span>}{entry.reason && <span class="quiet-text"> · because: {entry.reason}</span>}</td>
                  <td class="wrap"><Said entry={entry} /></td>
                  <td class="mono quiet-text">{entry.from}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {items && oldest > 1 && <button type="button" onClick={earlier}>Earlier ones</button>}
      <p class="quiet-text">Each entry holds the hash of the one before it: <code>overtap audit verify</code> proves that none was changed.</p>
    </>
  )
}

function Said({ entry }: { entry: AuditEntry }) {
  const tone = { granted: 'good', refused: 'bad', failed: 'warn' } as const
  return <><Badge tone={tone[entry.answer]}>{entry.answer}</Badge> {entry.because && <span class="quiet-text">{entry.because}</span>}</>
}

const whoOf = ({ who, name }: AuditEntry): string => (who === 'user' ? name ?? who : name ? `${who} ${name}` : who)

const textOf = (entry: AuditEntry): string => JSON.stringify(entry).toLowerCase()

const PAGE = 200
