"""A few sentences in many scripts, for what is to be tried on some text where nobody gave any."""

TEXTS = (
    "The captain left the harbour before dawn, and nobody saw the ship again.",
    "It's 10:45; tickets cost $3.50 (or 2 for $6) at www.example.org!",
    "She had read the letter twice, and still she did not know what her brother wanted from her.",
    "Most of the water that falls on the hills comes back to the sea within a year.",
    "The teacher asked the children to write down the names of all the animals they had seen.",
    "Садовник полил белую розу, а сосед собрал весь спелый крыжовник.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Les élèves sont allés à l'école malgré la neige; où est leur maître?",
    "图书馆里有很多关于历史的书，学生们每天都来读。",
    "昨日は雨が降ったので、私たちは家で本を読みました。",
    "ฉันชอบอ่านหนังสือในห้องสมุดทุกวันเสาร์",
    "ذهب الطالب إلى المكتبة وقرأ كتابا عن البحر.",
    "बच्चे हर सुबह नदी के किनारे खेलते हैं।",
    "Η θάλασσα ήταν ήρεμη και τα καράβια έφυγαν νωρίς.",
)
