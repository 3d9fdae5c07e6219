//! Small things every page shows: icons, states, nothing there, something wrong.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Problem } from '../api'

const PATHS = {
  topology: 'M9 3h6v5H9zM3 16h6v5H3zM15 16h6v5h-6zM12 8v4M6 16v-4h12v4',
  machines: 'M4 5h16v5H4zM4 14h16v5H4zM8 7.5h.01M8 16.5h.01',
  captures: 'M12 4a8 8 0 1 0 8 8M12 8a4 4 0 1 0 4 4M12 12l8-8M15 4h5v5',
  traffic: 'M4 8h13M13 4l4 4-4 4M20 16H7M11 12l-4 4 4 4',
  agents: 'M5 4h14v10H5zM9 20h6M12 14v6M9 9l2 2 4-4',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3 20c0-3.5 2.7-6 6-6s6 2.5 6 6M16 4.5a3.5 3.5 0 0 1 0 6M18 14.5c1.9.9 3 2.900 3 5.500',
  audit: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7M9 7h3',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5',
  record: 'M12 6a6 6 0 1 0 0 12 6 6 0 0 0 0-12z',
  stop: 'M7 7h10v10H7z',
  download: 'M12 4v11M7 10.500l5 5 5-5M5 20h14',
  copy: 'M9 9h11v11H9zM5 15V4h11',
  theme: 'M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16',
  close: 'M6 6l12 12M18 6L6 18',
  right: 'M9 5l7 7-7 7',
  warn: 'M12 4L2.500 20h19zM12 10v5M12 17.500v.01',
  clock: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4l3 2',
  leave: 'M14 4H5v16h9M10 12h11M17 8l4 4-4 4',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, filled = false }: { name: IconName; filled?: boolean }) {
  return (
    <svg class={filled ? 'icon filled' : 'icon'} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}

export type Tone = 'good' | 'warn' | 'bad' | 'quiet' | 'busy'

/** A state in a word: never by colour alone. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>
}

export const machineTone = (state: string): Tone => (state === 'running' ? 'good' : state === 'incoming' || state === 'outgoing' ? 'busy' : 'quiet')

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div class="empty-text">{children}</div>}
    </div>
  )
}

/** What went wrong, and what can be done. */
export function Wrong({ problem, again }: { problem: Problem; again?: () => void }) {
  return (
    <div class="wrong" role="alert">
      <Icon name="warn" />
      <div>
        <p class="wrong-title">{problem.title}</p>
        <p>{problem.message}</p>
      </div>
      {again && <button type="button" onClick={again}>Try again</button>}
    </div>
  )
}

export function Waiting({ what }: { what: string }) {
  const [isLong, set] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => set(true), 300)
    return () => clearTimeout(timer)
  }, [])
  return <p class="waiting" role="status">{isLong ? `Asking for ${what} …` : '\u00a0'}</p>
}

/** A table that may be wider than the window: scrolled by keyboard, too. */
export function Scroll({ label, children, class: more = '' }: { label: string; children: ComponentChildren; class?: string }) {
  return <div class={`scroll ${more}`} tabIndex={0} role="region" aria-label={label}>{children}</div>
}

/** The heading of a page; it gets the focus when the page opens, so that a reader begins there. */
export function Head({ title, above, children }: { title: ComponentChildren; above?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="head">
      <div class="head-words">
        {above && <p class="above">{above}</p>}
        <h1 tabIndex={-1}>{title}</h1>
      </div>
      {children && <div class="head-acts">{children}</div>}
    </header>
  )
}

/** Text to copy, with the button that does. */
export function Copy({ text, label }: { text: string; label: string }) {
  const [state, set] = useState<'' | 'done' | 'marked'>('')
  const code = useRef<HTMLElement>(null)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
      set('done')
    } catch {
      // Without TLS browsers give no clipboard: marked, so that Ctrl-C takes it.
      getSelection()?.selectAllChildren(code.current!)
      set('marked')
    }
    setTimeout(() => set(''), 2500)
  }
  return (
    <div class="copy">
      <code ref={code} tabIndex={0} aria-label={label}>{text}</code>
      <button type="button" class="quiet" onClick={copy} aria-label={`Copy: ${label}`}>
        <Icon name="copy" /> <span aria-live="polite">{state === 'done' ? 'Copied' : state === 'marked' ? 'Press Ctrl-C' : 'Copy'}</span>
      </button>
    </div>
  )
}

/** A dialog of the browser's own: Escape closes it, the focus stays inside and goes back. */
export function Dialog({ title, close, children, wide = false }: { title: string; close: () => void; children: ComponentChildren; wide?: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null
    dialog.current?.showModal()
    return () => before?.focus?.()
  }, [])
  return (
    <dialog ref={dialog} class={wide ? 'wide' : ''} aria-label={title} onClose={close} onCancel={close}
      onClick={(event) => { if (event.target === dialog.current) close() }}>
      <div class="dialog">
        <header>
          <h2>{title}</h2>
          <button type="button" class="quiet square" onClick={close} aria-label="Close"><Icon name="close" /></button>
        </header>
        {children}
      </div>
    </dialog>
  )
}

/** A button that asks once more before it does something that cannot be undone. */
export function Sure({ label, question, act }: { label: string; question: string; act: () => Promise<unknown> }) {
  const [isAsking, ask] = useState(false)
  const [problem, set] = useState<Problem | null>(null)
  return (
    <>
      <button type="button" class="quiet danger" onClick={() => ask(true)}>{label}</button>
      {isAsking && (
        <Dialog title={label} close={() => ask(false)}>
          <p>{question}</p>
          {problem && <Wrong problem={problem} />}
          <div class="acts">
            <button type="button" onClick={() => ask(false)}>Leave it</button>
            <button type="button" class="danger solid" onClick={() => act().then(() => ask(false), set)}>{label}</button>
          </div>
        </Dialog>
      )}
    </>
  )
}
