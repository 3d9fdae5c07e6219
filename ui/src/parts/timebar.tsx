//! The time slider: the site as it was at another time.

import { useEffect, useState } from 'preact/hooks'
import { local, span, utc, when } from '../format'
import { Icon } from './basics'

const RANGES = [
  { name: '1 h', seconds: 3600 },
  { name: '24 h', seconds: 86_400 },
  { name: '7 d', seconds: 604_800 },
]

/** `at` is RFC 3339, or null for now. */
export function TimeBar({ at, go }: { at: string | null; go: (at: string | null) => void }) {
  const [range, setRange] = useState(RANGES[1]!)
  const [isOpen, open] = useState(at !== null)
  const [back, drag] = useState<number | null>(null)
  useEffect(() => { if (at) open(true) }, [at])
  const now = Date.now()
  const seconds = back ?? (at ? Math.max(0, (now - Date.parse(at)) / 1000) : 0)
  const to = (secondsBack: number) => {
    drag(null)
    go(secondsBack < range.seconds / 2000 ? null : utc(now - secondsBack * 1000))
  }
  if (!isOpen) {
    return <button type="button" class="quiet" onClick={() => open(true)}><Icon name="clock" /> At another time</button>
  }
  return (
    <div class={at ? 'timebar past' : 'timebar'} role="group" aria-label="The time that is shown">
      <Icon name="clock" />
      <span class="timebar-now" aria-live="polite">{seconds > 1 ? <>As it was <b>{when(now - seconds * 1000)}</b>, {span(seconds)} ago</> : <>As it is <b>now</b></>}</span>
      <input type="range" min={0} max={1000} step={1} aria-label="Slide into the past"
        value={1000 - Math.min(1000, (seconds / range.seconds) * 1000)} aria-valuetext={seconds > 1 ? `${span(seconds)} ago` : 'now'}
        onInput={(event) => drag(((1000 - Number(event.currentTarget.value)) / 1000) * range.seconds)}
        onChange={(event) => to(((1000 - Number(event.currentTarget.value)) / 1000) * range.seconds)} />
      <select aria-label="How far the slider reaches" value={range.name} onChange={(event) => setRange(RANGES.find(({ name }) => name === event.currentTarget.value) ?? RANGES[1]!)}>
        {RANGES.map(({ name }) => <option key={name}>{name}</option>)}
      </select>
      <input type="datetime-local" step={1} aria-label="Exactly at" value={local(now - seconds * 1000)} max={local(now)}
        onChange={(event) => { const time = Date.parse(event.currentTarget.value); if (time) go(time < Date.now() ? utc(time) : null) }} />
      <button type="button" class="quiet" onClick={() => { open(false); drag(null); go(null) }}>{at ? 'Back to now' : 'Close'}</button>
    </div>
  )
}
