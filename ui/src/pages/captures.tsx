//! The capture sessions: those that run, and those of the last day.

import type { Me, Session } from '../api'
import { api } from '../api'
import { Badge, Empty, Head, Icon, Waiting, Wrong } from '../parts/basics'
import { ago, asked, bytes, count, span, when } from '../format'
import { useLoaded } from '../live'
import { go, link } from '../route'

export function CapturesPage({ words, me }: { words: Record<string, string>; me: Me }) {
  const { value, problem, again } = useLoaded(() => api.sessions(), [], ['sessions'], 5000)
  const which = words.show ?? 'all'
  const all = [...(value?.items ?? [])].sort((one, other) => (one.state === other.state ? Date.parse(other.began) - Date.parse(one.began) : one.state === 'running' ? -1 : 1))
  const shown = all.filter((session) => which === 'all' || (which === 'mine' ? session.owner === me.name : session.state === which))
  return (
    <>
      <Head title="Captures" />
      <div class="tabs" role="group" aria-label="Which captures">
        {[['all', 'All'], ['running', 'Running'], ['ended', 'Ended'], ...(me.is_admin ? [['mine', 'Mine']] : [])].map(([word, name]) => (
          <button key={word} type="button" aria-pressed={which === word} onClick={() => go(link(['captures'], { show: word === 'all' ? null : word }), true)}>{name}</button>
        ))}
      </div>
      {problem && <Wrong problem={problem} again={again} />}
      {!value && !problem && <Waiting what="the captures" />}
      {value && shown.length === 0 && (
        <Empty title={which === 'all' ? 'No capture runs, and none of the last day is kept' : 'None of these'}>
          <p>Find a machine (press <kbd>/</kbd>) and choose <b>Capture</b>.</p>
        </Empty>
      )}
      {shown.length > 0 && <ul class="cards">{shown.map((session) => <Card key={session.id} session={session} />)}</ul>}
    </>
  )
}

function Card({ session }: { session: Session }) {
  const isRunning = session.state === 'running'
  const hosts = [...new Set(session.parts.map((part) => part.host))]
  const began = Date.parse(session.began)
  return (
    <li class={isRunning ? 'card running' : 'card'}>
      <div class="card-head">
        <h2><a href={link(['capture', session.id])}>{asked(session)}</a></h2>
        {isRunning ? <Badge tone="busy"><Icon name="record" filled /> running</Badge> : <Badge tone="quiet">ended</Badge>}
        {session.lost > 0 && <Badge tone="bad">{count(session.lost)} lost</Badge>}
      </div>
      <p class="card-filter mono">{session.expression || 'all packets'}</p>
      <dl class="card-figures">
        <div><dt>Packets</dt><dd>{count(session.packets)}</dd></div>
        <div><dt>Size</dt><dd>{bytes(session.bytes)}</dd></div>
        <div><dt>{isRunning ? 'Since' : 'Took'}</dt><dd>{isRunning ? span((Date.now() - began) / 1000) : span(((session.ended ? Date.parse(session.ended) : Date.now()) - began) / 1000)}</dd></div>
        <div><dt>At</dt><dd>{hosts.join(', ') || 'no host yet'}</dd></div>
      </dl>
      <p class="quiet-text">{session.id} · {session.owner} · {when(began)}, {ago(began)}{session.reason && <> · {session.reason}</>}{session.end && <> · ended: {session.end}</>}</p>
    </li>
  )
}
