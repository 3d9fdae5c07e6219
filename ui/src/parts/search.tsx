//! Search as you type over every machine: a local index, so that each letter is answered at once.
//! What the index does not know (taps, port ids, old names) is asked of the controller on Enter.

import { useEffect, useRef, useState } from 'preact/hooks'
import { api, plainId } from '../api'
import { search, useLive, type Known } from '../live'
import { go, link } from '../route'
import { Icon } from './basics'

export function Search() {
  const live = useLive('machines')
  const [words, set] = useState('')
  const [isOpen, open] = useState(false)
  const [chosen, choose] = useState(0)
  const [note, tell] = useState('')
  const box = useRef<HTMLInputElement>(null)
  const found = isOpen ? search(live.index, words, MOST) : []

  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      const at = event.target as HTMLElement
      if (event.key !== '/' || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) return
      event.preventDefault()
      box.current?.focus()
    }
    addEventListener('keydown', key)
    return () => removeEventListener('keydown', key)
  }, [])

  const take = (known: { id: string } | undefined) => {
    if (!known) return
    go(link(['machine', plainId(known.id)]))
    set('')
    open(false)
    box.current?.blur()
  }
  const ask = async () => {
    const what = words.trim()
    if (!what) return
    tell('Asking the controller …')
    try {
      const answer = await api.machines({ what, limit: 2 })
      const [first, second] = answer.items
      if (first && !second) take(first.machine)
      else if (first) go(link(['machines'], { what }))
      else tell(answer.suggestions.length ? `Nothing is called so. Perhaps ${answer.suggestions.slice(0, 3).join(', ')}?` : 'Nothing is called so, or you have no grant for it.')
    } catch (error) {
      tell((error as Error).message)
    }
  }
  const key = (event: KeyboardEvent) => {
    if (event.key === 'ArrowDown') choose(Math.min(chosen + 1, found.length - 1))
    else if (event.key === 'ArrowUp') choose(Math.max(chosen - 1, 0))
    else if (event.key === 'Enter') found[chosen] ? take(found[chosen]) : void ask()
    else if (event.key === 'Escape') { set(''); open(false) }
    else return
    event.preventDefault()
  }
  const isShown = isOpen && words.trim() !== ''
  return (
    <div class="search" role="search" onFocusOut={(event) => {
      if (!event.currentTarget.contains(event.relatedTarget as Node | null)) open(false)
    }}>
      <Icon name="search" />
      <input ref={box} type="text" inputmode="search" value={words} placeholder="Find a machine: name, MAC, IP" aria-label="Find a machine"
        role="combobox" aria-expanded={isShown} aria-controls="found" aria-autocomplete="list" autocomplete="off" spellcheck={false}
        aria-activedescendant={isShown && found[chosen] ? `found-${chosen}` : undefined} enterkeyhint="search"
        onFocus={() => open(true)} onKeyDown={key}
        onInput={(event) => { set(event.currentTarget.value); choose(0); tell(''); open(true) }} />
      <kbd aria-hidden="true">/</kbd>
      {isShown && (
        <div class="found">
          <ul id="found" role="listbox" aria-label="Machines found">
            {found.map((known, i) => (
              <li key={known.id} id={`found-${i}`} role="option" aria-selected={i === chosen} class={i === chosen ? 'chosen' : ''}
                onMouseDown={(event) => event.preventDefault()} onClick={() => take(known)} onMouseMove={() => choose(i)}>
                <b><Marked text={known.name} words={words} /></b>
                <span>{known.detail}{match(known, words)}</span>
              </li>
            ))}
          </ul>
          <p class="found-note" role="status">
            {note || (found.length === 0 ? 'Not among names and addresses. Enter asks the controller for taps, port ids and old names.'
              : found.length === MOST ? `The first ${MOST}; type on` : `${found.length} found`)}
          </p>
        </div>
      )}
    </div>
  )
}

/** What of the words is in the name. */
function Marked({ text, words }: { text: string; words: string }) {
  const first = words.trim().toLowerCase().split(/\s+/)[0] ?? ''
  const at = first ? text.toLowerCase().indexOf(first) : -1
  if (at < 0) return <>{text}</>
  return <>{text.slice(0, at)}<mark>{text.slice(at, at + first.length)}</mark>{text.slice(at + first.length)}</>
}

/** The address that matched, where the name did not. */
function match(known: Known, words: string): string {
  const first = words.trim().toLowerCase().split(/\s+/)[0] ?? ''
  if (!first || known.name.toLowerCase().includes(first) || known.detail.toLowerCase().includes(first)) return ''
  const hit = known.text.split(' ').find((word) => word.includes(first))
  return hit ? ` · ${hit}` : ''
}

const MOST = 12
