//! Where one is: every state of the page that is worth a link is in the address behind `#`.
//!
//! `#/machine/uuid:3f2a…?at=2026-11-22T10:03:00Z` is the path `['machine', 'uuid:3f2a…']` and the
//! words `{at: …}`.

import { useEffect, useState } from 'preact/hooks'

export interface Route { path: string[]; words: Record<string, string> }

/** Reads what is behind `#`. */
export function read(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2)
  const words = Object.fromEntries(new URLSearchParams(query))
  return { path: path.split('/').filter(Boolean).map(decode), words }
}

/** The address of a state; words that are empty are left out. */
export function link(path: string[], words: Record<string, string | null | undefined> = {}): string {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(words)) if (value) query.set(key, value)
  const text = query.toString()
  return `#/${path.map(encode).join('/')}${text && `?${text}`}`
}

/** Goes there; `replace` where the way back should not lead here. */
export function go(to: string, replace = false): void {
  if (replace) {
    history.replaceState(null, '', to)
    dispatchEvent(new HashChangeEvent('hashchange'))
  } else {
    location.hash = to
  }
}

/** The state the page is in. */
export function useRoute(): Route {
  const [route, set] = useState(() => read(location.hash))
  useEffect(() => {
    const changed = () => set(read(location.hash))
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return route
}

const encode = (word: string) => encodeURIComponent(word).replaceAll('%3A', ':')

function decode(word: string): string {
  try {
    return decodeURIComponent(word)
  } catch {
    return word
  }
}
